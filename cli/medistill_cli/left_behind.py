"""What a refused command leaves behind: nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import typer

from medistill.errors import ArtifactError, DataError, GateError, UsageError
from medistill.ranks.launch import launched

REFUSED = (UsageError, DataError, ArtifactError, GateError)
REFUSED_CODES = (2, 3)
"""How processes end that this one started for a command that they refuse."""


@contextmanager
def nothing_left_behind(out: Path | None) -> Iterator[None]:
    """Take away what a command began at ``out`` where it is refused before it has any result.

    What lay there before stays, and so does everything as soon as there is more than a run has before its first
    result. Ranks leave it to the process that started them.
    """
    if out is None or launched() is not None or _has_content(out):
        yield
        return
    missing = [place for place in (out, *out.absolute().parents) if not os.path.lexists(place)]
    try:
        yield
    except REFUSED:
        _take_back(out, missing)
        raise
    except typer.Exit as ended:
        if ended.exit_code in REFUSED_CODES:
            _take_back(out, missing)
        raise


def _has_content(out: Path) -> bool:
    """Whether something lies there already, or nothing could."""
    try:
        return os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir()))
    except (OSError, ValueError):  # it is refused for that by whoever wants to write there
        return True


def _take_back(out: Path, missing: list[Path]) -> None:
    """Empty ``out`` again and remove what was missing, where it holds nothing but the beginning of a run.

    A lock is another command's, which works there: this one has let go of its own. What cannot be removed stays, since
    the refusal is what is to be read.
    """
    from medistill.workflow.run import LOCK

    if not out.is_dir() or os.path.lexists(out / LOCK):
        return
    entries = list(out.iterdir())
    if not all(map(_is_beginning, entries)):
        return
    for entry in entries:
        with suppress(OSError):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    for place in missing:
        with suppress(OSError):  # another program put something into it
            place.rmdir()


def _is_beginning(entry: Path) -> bool:
    """Whether it is what a run has before its first result, or a folder of such runs."""
    from medistill.workflow.run import is_early

    if is_early(entry.name):
        return True
    folder = entry.is_dir() and not entry.is_symlink()
    return folder and all(is_early(name) for _, _, files in os.walk(entry) for name in files)
