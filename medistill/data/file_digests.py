"""File digests: what files hold, by SHA-256, read anew wherever the file system cannot vouch that nothing changed.

As in git's index, size, times and inode of a file say that its bytes are those that were read before. They are believed
of local file systems, which keep a time of change that no program can set, and of files that had not changed within the
last moments when they were read: two changes may lie in one tick of the clock.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from medistill.artifacts.atomic import read_json, sha256_file, write_json
from medistill.errors import ArtifactError
from medistill.progress import Progress, Silent

MOMENT = 2 * 10**9
"""Nanoseconds before it was read within which a file must not have changed to be believed later."""
LOCAL = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
"""File systems whose times of change and inodes are believed. Over a network they may be old copies, FAT has neither,
and outside Linux nothing here says which file system it is."""
MOUNTS = Path("/proc/self/mountinfo")
QUIET = 2**28
"""Bytes up to which files are read without a word; more takes long enough for a bar."""


class Facts(NamedTuple):
    """What a file system says of a file without opening it; links are followed."""

    size: int
    modified: int
    changed: int
    inode: int
    device: int


class _Read(NamedTuple):
    """A file that was read before.

    Attributes:
        facts: what the file system said of it.
        when: nanoseconds since 1970 at which its reading began.
        digest: what stands for its content.
    """

    facts: Facts | None
    when: int
    digest: str

    def is_still(self, facts: Facts | None) -> bool:
        """Whether a file of which that is said now holds the same."""
        if facts is None or facts != self.facts:
            return False
        return max(facts.modified, facts.changed) + MOMENT < self.when


def file_digests(folder: Path, files: Sequence[str], known: Path, progress: Progress) -> list[str]:
    """What stands for the content of each file, in their order: its SHA-256, or that it cannot be read.

    Args:
        files: paths relative to ``folder``.
        known: private file in which the digests are remembered.

    Raises:
        ArtifactError: that file cannot be written.
    """
    facts, device = facts_of(folder, files), folder.stat().st_dev
    remembered = _remembered(known) if _is_local(folder) else {}
    before = {file: remembered[_as_text(file)] for file in files if _as_text(file) in remembered}
    now = {
        file: before[file]
        for file, there in facts.items()
        if file in before and before[file].is_still(there) and there is not None and there.device == device
    }
    missing = {file: there for file, there in facts.items() if file not in now}
    loud = sum(there.size for there in missing.values() if there is not None) > QUIET
    with (progress if loud else Silent()).task("Looking for changed files", len(files), done=len(now)) as task:
        for file, there in missing.items():
            now[file] = _Read(there, time.time_ns(), _digest(folder / file))
            task.advance()
    if missing:
        write_json(known, {_as_text(file): now[file] for file in files}, private=True)
    return [now[file].digest for file in files]


def _as_text(file: str) -> str:
    """A name as JSON takes it: names of files need not be UTF-8."""
    return os.fsencode(file).decode("latin-1")


def facts_of(folder: Path, files: Sequence[str]) -> dict[str, Facts | None]:
    """What the file system says of each file; None where that is no regular file, or is not there."""
    return {file: _facts(folder / file) for file in files}


def _facts(path: Path) -> Facts | None:
    try:
        found = path.stat()
    except OSError:  # a link to nothing, or in a circle
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Facts(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)


def _digest(path: Path) -> str:
    """Of the content; of a link also of where it leads, since that decides whether it is read at all."""
    try:
        content = sha256_file(path) if _facts(path) is not None else "no file"
    except OSError:
        content = "unreadable"
    if not path.is_symlink():
        return content
    return hashlib.sha256(os.fsencode(os.readlink(path)) + b"\0" + content.encode()).hexdigest()


def _remembered(known: Path) -> dict[str, _Read]:
    """What was written down before; nothing where that is damaged."""
    try:
        return {
            file: _Read(None if facts is None else Facts(*facts), int(when), str(digest))
            for file, (facts, when, digest) in read_json(known, "digests of files").items()
        }
    except (ArtifactError, TypeError, ValueError):
        return {}


def _is_local(folder: Path) -> bool:
    """Whether a folder lies on a file system of `LOCAL`."""
    if not MOUNTS.is_file():
        return False
    real, found = Path(os.path.realpath(folder)), ("", "")
    for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        place, _, kind = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place.split()[4])
        if real.is_relative_to(point) and len(point) >= len(found[0]):  # a later mount covers an earlier one
            found = (point, kind.split()[0])
    return found[1] in LOCAL
