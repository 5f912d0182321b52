"""Things that a session of tests makes once, though several processes run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def once(folder: Path, fill: Callable[[Path], object]) -> Path:
    """Return ``folder``, which ``fill`` makes, whole or not at all, unless another process of the session has."""
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            partial = folder.with_name(f"{folder.name}-partial")
            fill(partial)
            partial.rename(folder)
    return folder
