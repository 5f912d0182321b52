"""A lock on a file: one process at a time reads a corpus or works on a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from medistill.artifacts.atomic import PRIVATE_FILE, unwritable


@contextmanager
def exclusive_lock(path: Path, *, when_taken: Callable[[], None], keep: bool) -> Iterator[None]:
    """Keep other processes out as long as the block lasts; a process that is killed lets go.

    Args:
        path: the file to lock; it is made where it is not there, and holds nothing.
        when_taken: called where another process holds the lock. It raises to give up, or returns to wait.
        keep: leave the file behind, as processes that wait for it need; without, it is removed.

    Raises:
        ArtifactError: the file cannot be made.
    """
    lock = FileLock(path, mode=PRIVATE_FILE)
    try:
        with suppress(Timeout):
            lock.acquire(timeout=0)
        if not lock.is_locked:
            when_taken()
            lock.acquire()
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield
    finally:
        if not keep:
            path.unlink(missing_ok=True)  # before it is let go: another process may hold the file a moment later
        lock.release()
