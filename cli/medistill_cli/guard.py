"""The guard around every command: it turns errors into one paragraph on stderr and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import typer

from medistill.errors import FormerFile, MedistillError, SaidElsewhere, UsageError
from medistill.ranks.launch import launched
from medistill_cli.left_behind import nothing_left_behind
from medistill_cli.terminal import error_console, write_error

P = ParamSpec("P")
FAILED = 1
INTERRUPTED = 130
REFUSED = 3
SHARED = ("audit", "distill", "exchange_study", "experts", "leave_site_out")
"""Commands whose work ranks share."""
_NETWORK = (
    "room for the network and the images that pass it at once",
    "set compute.micro_batch to a small number such as 16; if that fails too, choose a smaller network "
    "(network.width) or a smaller data.image_size",
)
MEMORY = {
    "data": (
        "room for the files that are read at the same time",
        "choose a smaller data.image_size, or take the largest files out of the folder",
    ),
    "sharing": (
        "room for a whole bundle and for its images as they are shown",
        "take a machine with more memory: five times the size of the bundle is enough",
    ),
    "quantisation": (
        "room for the images that are encoded at once and for their principal components",
        "lower method.quantise.batch_size, method.quantise.components or data.image_size",
    ),
    "evaluate.protocol": _NETWORK,
    "evaluate": (
        "room for the answers of all networks in every replicate of the bootstrap",
        "lower evaluate.bootstrap or evaluate.networks",
    ),
    "privacy": ("room for the comparison of all images", "lower audit.shadows, or data.image_size"),
    "report": ("room for the pictures of the report", "lower method.ipc, or data.image_size"),
    "training": _NETWORK,
    "engine": (
        "room for the images that pass the network at once, and for the parameters of every student step",
        "set compute.micro_batch to a small number such as 16, or lower method.syn_steps",
    ),
    "networks": _NETWORK,
}
"""Room in which memory ran out -> what there should have been room for, and what needs less."""


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Wrap the body of a command. Tracebacks are shown with --debug alone, since they can quote what was read."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        debug = bool(kwargs.get("debug"))
        quieten(debug=debug)
        try:
            _refuse_ranks(command.__name__)
            out = kwargs.get("out")
            with nothing_left_behind(out if isinstance(out, Path) else None):
                command(*args, **kwargs)
            sys.stdout.flush()
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            tell("Stopped.")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:  # noqa: BLE001
            if debug:
                import traceback

                write_error(traceback.format_exc())
            message, code = explain(error)
            if not isinstance(error, SaidElsewhere):
                tell(of_rank(message))
            raise typer.Exit(code) from None

    return run


def _refuse_ranks(command: str) -> None:
    """Refuse several processes of a command that works in one: each would do the whole work.

    Raises:
        UsageError: a launcher started several.
    """
    launch = launched()
    if launch is not None and launch.size > 1 and command not in SHARED:
        error = UsageError if launch.rank == 0 else SaidElsewhere
        raise error(
            f"a launcher has started {launch.size} processes of `medistill {command.replace('_', '-')}`",
            expected=f"one process, or one of the commands that several share: {', '.join(SHARED).replace('_', '-')}",
            do="start it without torchrun",
        )


def of_rank(message: str) -> str:
    """Say whose message it is where it is not that of the first rank."""
    launch = launched()
    return message if launch is None or launch.rank == 0 else f"Rank {launch.rank}: {message}"


def explain(error: Exception) -> tuple[str, int]:
    """What to say of an error, and the exit code. Of an unforeseen one only its kind: its words may quote data."""
    if isinstance(error, MedistillError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return (
            f"The disk is full{f': {error.filename}' if error.filename else ''}. Expected: room for the output. "
            "What to do: free space, then repeat the command; nothing that was finished is lost.",
            REFUSED,
        )
    if isinstance(error, OSError) and error.filename and error.strerror:
        return (
            f"{error.filename} cannot be used: {error.strerror}. Expected: a file or folder that you may use. "
            "What to do: check that it is there, and its permissions, then repeat the command.",
            REFUSED,
        )
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "can't allocate memory" in str(error):
        return f"The memory is not enough. {_memory_advice(error)}", FAILED
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" at {os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}" if place else ""
    return (
        f"An error that medistill did not foresee: {type(error).__name__}{where}. This is a fault of medistill; please "
        "report this line with the output of `medistill doctor`. The same command with --debug shows the details, "
        "which can quote your files: read them before you pass them on.",
        FAILED,
    )


def _memory_advice(error: BaseException) -> str:
    """What was done when memory ran out, from the room of the innermost frame that has advice, and what would help."""
    rooms, place = [], error.__traceback__
    while place is not None:
        rooms.append(place.tb_frame.f_globals.get("__name__", ""))
        place = place.tb_next
    for room in reversed(rooms):
        for name, (expected, do) in MEMORY.items():
            if room.startswith(f"medistill.{name}"):
                return f"Expected: {expected}. What to do: {do}."
    return "Expected: room for what was read. What to do: close other programs, or take a machine with more memory."


def tell(message: str) -> None:
    """Write a paragraph to stderr: in a frame on a terminal, plain elsewhere."""
    if not sys.stderr.isatty():
        write_error(message)
        return
    from rich.panel import Panel
    from rich.text import Text

    error_console().print(Panel(Text(message), title="medistill", title_align="left", border_style="red"))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    """Write a warning to stderr: one on a former file as a note, one that --debug lets through with its place."""
    write_error(str(message) if issubclass(category, FormerFile) else f"{filename}:{lineno}: {message}")


def quieten(*, debug: bool) -> None:
    """Keep other packages off the terminal, here and in worker processes: pydicom's warnings quote header values.

    With --debug the warnings of the numerical packages are shown; pydicom's never.
    """
    logging.getLogger().addHandler(logging.NullHandler())
    for name in ("pydicom", "monai", "nibabel", "PIL", "matplotlib"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ["PYTHONWARNINGS"] = "ignore"
    warnings.simplefilter("ignore")
    warnings.filterwarnings("once", category=FormerFile)
    warnings.showwarning = _show_warning
    if debug:
        for name in ("torch", "numpy", "medistill"):
            warnings.filterwarnings("default", module=rf"{name}\b")
