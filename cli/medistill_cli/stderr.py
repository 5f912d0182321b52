"""Standard error that may lose its reader: a terminal that closes must not end the work that writes to it."""

from __future__ import annotations

import os
import stat
import sys


class Stderr:
    """`sys.stderr` for progress; once it cannot be written to, what is said goes nowhere."""

    def __init__(self) -> None:
        self.stream = sys.stderr  # as it is now: Rich puts a stream of its own in its place, which leads back here

    @property
    def encoding(self) -> str:
        """How text becomes bytes."""
        return self.stream.encoding

    def write(self, text: str) -> int:
        """Write, or find out that nobody reads any more."""
        try:
            return self.stream.write(text)
        except OSError:
            forsake(2)
            return len(text)

    def flush(self) -> None:
        """Flush, likewise."""
        try:
            self.stream.flush()
        except OSError:
            forsake(2)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """Its descriptor."""
        return self.stream.fileno()


def forsake(descriptor: int) -> None:
    """Let a standard stream lead nowhere from now on, also what is in its buffer."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def forsake_closed_terminal() -> None:
    """Forsake standard output and error where they are a terminal that has closed."""
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
            forsake(descriptor)
