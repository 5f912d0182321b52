"""The work of a command that takes time: its progress on stderr, and how it is stopped and continued."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Literal, cast

import typer

from medistill.ranks.launch import launched
from medistill_cli.stderr import Stderr
from medistill_cli.stop import Stop
from medistill_cli.terminal import error_console
from medistill_cli.unheard import Unheard

if TYPE_CHECKING:
    from medistill_cli.bars import Bars
    from medistill_cli.lines import Lines

Again = Literal["resume", "repeat", "anew"]
"""How a command goes on: with --resume, by itself when it is repeated, or from its beginning."""
NOTICE = b"Stopping at the next safe point. Ctrl-C again stops at once.\n"
SAVED = "Stopped; all that was finished is saved. To continue"


@contextmanager
def working(again: Again) -> Iterator[Bars | Lines | Unheard]:
    """Give the workflow a progress to talk to; where it is stopped say how to continue, and exit 130, 143 or 129.

    Of several ranks only the first is heard.
    """
    from medistill_cli.bars import Bars
    from medistill_cli.lines import Lines

    stderr, launch = Stderr(), launched()
    console = error_console(cast("IO[str]", stderr))
    heard = launch is None or launch.rank == 0

    def notice() -> None:
        with suppress(OSError):  # nobody reads it any more
            os.write(2, NOTICE if heard else b"")  # not sys.stderr: the signal may come while that is being written

    stop = Stop(notice)
    drawn = Bars(console, stop) if console.is_terminal else Lines(stop, stderr)
    progress: Bars | Lines | Unheard = drawn if heard else Unheard(stop)
    with stop:
        try:
            with progress:
                yield progress
        except KeyboardInterrupt:
            kept = "Stopped; nothing was kept. To start again" if again == "anew" else SAVED
            progress.say(f"{kept}:\n  {continuing(again)}")
            raise typer.Exit(stop.exit_code) from None


def continuing(again: Again) -> str:
    """The command that goes on from where this one was stopped."""
    words = ["medistill", *sys.argv[1:]]
    if launched() is not None and "--processes" not in " ".join(words):
        words = ["torchrun", "...", "-m", *words]
    if again == "resume" and "--resume" not in words:
        words.append("--resume")
    return shlex.join(words)
