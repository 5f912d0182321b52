"""Lines: progress where stderr is no terminal, a plain line now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from medistill.pace import Pace, duration
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
        self.done, self.figures = done, ""
        self.started = self.last = time.monotonic()
        self.pace = Pace(total, done, self.started)
        if loud:
            lines.say(f"{title}: {done} of {total}")

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Count, tell now and then; a safe point."""
        self.done += steps
        self.total = max(self.total, self.done)  # which can be an estimate
        self.figures = figures
        now = time.monotonic()
        self.pace.advance(steps, now)
        if now - self.last >= SECONDS_BETWEEN:
            self.last, self.loud = now, True
            left = self.pace.left(now)
            self._tell("time left not known yet" if left is None else f"about {duration(left)} left" if left else "")
        self.lines.stop.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.loud or error is not None:
            early = error is None and self.done < self.total  # of an estimated length: a count would look unfinished
            took = f"{'done' if error is None else 'stopped'} after {duration(time.monotonic() - self.started)}"
            self._tell(took, count="" if early else f"{self.done} of {self.total}")

    def _tell(self, end: str, *, count: str | None = None) -> None:
        count = f"{self.done} of {self.total}" if count is None else count
        self.lines.say(f"{self.title}: {', '.join(part for part in (count, self.figures, end) if part)}")
