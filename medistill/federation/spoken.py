"""Spoken: progress of work that an engine runs, which hears what is said and may ask it to stop at a safe point."""

from __future__ import annotations

from collections.abc import Callable

from medistill.progress import SilentTask


class StoppableTask(SilentTask):
    """A task that ends at a safe point when it was asked to."""

    def __init__(self, asked_to_stop: Callable[[], bool]) -> None:
        self.asked_to_stop = asked_to_stop

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Stop here, if that was asked."""
        if self.asked_to_stop():
            raise KeyboardInterrupt


class Spoken:
    """A `Progress` for work that nobody watches at a terminal."""

    def __init__(self, heard: Callable[[str], None], asked_to_stop: Callable[[], bool]) -> None:
        self.heard, self.asked_to_stop = heard, asked_to_stop

    def task(self, title: str, total: int, *, done: int = 0) -> StoppableTask:
        """Begin a piece of work."""
        return StoppableTask(self.asked_to_stop)

    def say(self, message: str) -> None:
        """Pass a line on."""
        self.heard(message)
