"""Heard: a progress that keeps what was said."""

from __future__ import annotations

from medistill.progress import Silent


class Heard(Silent):
    """What was said, in order.

    Attributes:
        said: the messages.
    """

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        """Keep it."""
        self.said.append(message)
