"""Lines: progress where stderr is no terminal, a plain line now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from medistill.visible import visible
from medistill_cli.stderr import Stderr
from medistill_cli.stop import Stop
from medistill_cli.terminal import LINES

SECONDS_BETWEEN = 10.0
"""Least time between two lines of one task."""
KIND = 2
"""Words of a title that tasks of one kind share: ``Encoding class`` of every class."""


class Lines:
    """A `medistill.progress.Progress` of plain lines on stderr."""

    def __init__(self, stop: Stop, stderr: Stderr | None = None) -> None:
        self.stop, self.stderr = stop, stderr or Stderr()
        self._kinds: set[str] = set()

    def task(self, title: str, total: int, *, done: int = 0) -> LineTask:
        """Say that a task starts; of those of one kind only the first, since a run can have hundreds of short ones."""
        kind = " ".join(title.split()[:KIND])
        first = kind not in self._kinds
        self._kinds.add(kind)
        return LineTask(self, title, total, done, loud=first)

    def say(self, message: str) -> None:
        """Print a line."""
        self.stderr.write(f"{visible(message, keep=LINES)}\n")
        self.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing behind."""


class LineTask:
    """A task that is told now and then; its start and end only where it is ``loud``, takes its time, or fails."""

    def __init__(self, lines: Lines, title: str, total: int, done: int, *, loud: bool) -> None:
        self.lines, self.title, self.total, self.loud = lines, title, total, loud
        self.done = self.first = done
        self.figures = ""
        self.started = self.last = time.monotonic()
        if loud:
            lines.say(f"{title}: {done} of {total}")

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Count, tell now and then; a safe point."""
        self.done += steps
        self.total = max(self.total, self.done)  # which can be an estimate
        self.figures = figures
        now = time.monotonic()
        if now - self.last >= SECONDS_BETWEEN:
            self.last, self.loud = now, True
            left = (now - self.started) / max(self.done - self.first, 1) * (self.total - self.done)
            self._tell(f"about {duration(left)} left" if left > 0 else "")
        self.lines.stop.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self.done:
            self.total = self.done
        if self.loud or error is not None:
            self._tell(f"{'done' if error is None else 'stopped'} after {duration(time.monotonic() - self.started)}")

    def _tell(self, end: str) -> None:
        self.lines.say(
            ", ".join(part for part in (f"{self.title}: {self.done} of {self.total}", self.figures, end) if part)
        )


def duration(seconds: float) -> str:
    """Seconds as a person would say them: ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
