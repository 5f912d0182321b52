"""Who works in the private cache: a locked file for each process, so that a purge notices those that are running."""

from __future__ import annotations

import atexit
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from medistill.artifacts.atomic import PRIVATE_FILE, unwritable
from medistill.artifacts.lock import exclusive_lock

PURGE = "purge.lock"


@dataclass(frozen=True)
class _Presence:
    """That this process works in a cache.

    Attributes:
        root: the cache.
        process: the process that took the lock; one that was forked from it is another.
        lock: of this process alone; the system lets go of it however the process ends.
    """

    root: Path
    process: int
    lock: FileLock

    @property
    def file(self) -> Path:
        return Path(self.lock.lock_file)


_presence: _Presence | None = None


def join(root: Path) -> None:
    """Count this process among those that work in the cache at ``root``, until it ends or joins another one.

    It waits while a purge is under way.

    Raises:
        ArtifactError: the cache cannot be written.
    """
    global _presence
    if _presence is not None and (_presence.root, _presence.process) == (root, os.getpid()) and _presence.file.exists():
        return
    leave()
    with exclusive_lock(root / PURGE, when_taken=lambda: None, keep=False):
        lock = FileLock(root / f"user-{os.getpid()}-{secrets.token_hex(4)}.lock", mode=PRIVATE_FILE)
        try:
            lock.acquire()
        except OSError as error:
            raise unwritable(Path(lock.lock_file), error) from error
        _presence = _Presence(root, os.getpid(), lock)


def leave() -> None:
    """Count this process no longer."""
    global _presence
    if _presence is not None and _presence.process == os.getpid():
        _presence.file.unlink(missing_ok=True)
        _presence.lock.release()
    _presence = None


atexit.register(leave)


@contextmanager
def nobody_joins(root: Path) -> Iterator[tuple[int, ...]]:
    """Keep other processes from joining while the block lasts, and give the ids of those that are there already.

    This process does not count. What processes that were killed left behind is removed.
    """
    leave()
    with exclusive_lock(root / PURGE, when_taken=lambda: None, keep=False):
        yield tuple(sorted(_at_work(root)))


def _at_work(root: Path) -> Iterator[int]:
    for path in root.glob("user-*-*.lock"):
        lock = FileLock(path, mode=PRIVATE_FILE, timeout=0)
        try:
            with lock:
                path.unlink(missing_ok=True)
        except TimeoutError:  # filelock's Timeout is one
            yield int(path.name.split("-")[1])
