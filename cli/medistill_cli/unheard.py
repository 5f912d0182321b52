"""Unheard: progress of a rank that is not the first. It says nothing, and stops at safe points like any other."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from medistill_cli.stop import Stop


class Unheard:
    """A `medistill.progress.Progress` that nobody sees.

    Args:
        stop: the wish to stop.
    """

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def task(self, title: str, total: int, *, done: int = 0) -> Unheard:
        """Start a task, which is this very object."""
        return self

    def say(self, message: str) -> None:
        """Say nothing."""

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Go on, or stop."""
        self.stop.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing behind."""
