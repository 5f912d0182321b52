"""Commands that are started as processes of their own, and the ranks among their children (Linux alone)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

DEADLINE = 120.0
"""Seconds after which what was waited for counts as lost."""


class Started:
    """A command at work.

    Args:
        words: after ``python``.
        log: file for what it says.
        known: variables beside those of this process.
    """

    def __init__(self, words: Sequence[str], log: Path, known: Mapping[str, str]) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, *words],
                env={**os.environ, **known},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.seen = set[int]()

    @property
    def said(self) -> str:
        """All that it has said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def ranks(self) -> dict[int, int]:
        """Rank -> process that works as it now."""
        found = dict[int, int]()
        for pid in _children(self.process.pid):
            with suppress(OSError):
                said = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                number = next((one[5:] for one in said if one.startswith(b"RANK=")), None)
                if number is not None:
                    found[int(number)] = pid
        self.seen |= set(found.values())
        return found

    def wait_until(self, there: Callable[[], bool]) -> None:
        """Wait for a sign from outside; the command must not have ended before."""
        deadline = time.monotonic() + DEADLINE
        while not there():
            assert self.process.poll() is None, f"it ended before it could be disturbed: {self.said[-2000:]}"
            assert time.monotonic() < deadline, f"nothing was seen in {DEADLINE:g} s: {self.said[-2000:]}"
            time.sleep(0.01)

    def end(self) -> int:
        """Wait for its end; return the exit code."""
        return self.process.wait(timeout=DEADLINE)

    def sweep(self) -> None:
        """End what is left of it: the launcher, and every rank that was seen and is still a rank."""
        here = set(self.ranks().values())
        for pid in {*self.seen, *here}:
            if b"medistill" in _command(pid):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextmanager
def started(words: Sequence[str], log: Path, **known: str) -> Iterator[Started]:
    """Start ``python WORDS``, and leave nothing of it behind."""
    command = Started(words, log, known)
    try:
        yield command
    finally:
        command.sweep()


def at_work(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _children(pid: int) -> list[int]:
    found = list[int]()
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found
