"""Bars: progress on a terminal, one bar a task, with time left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from medistill.pace import Pace, duration
from medistill_cli.stop import Stop

NARROW = 100
"""Columns of a terminal below which bars are short and the time spent is left out."""
COUNTED = 100_000
"""Totals from here on are told as a share: nobody reads seven digits, and they take the place of words."""


class TimeLeft(ProgressColumn):
    """How long a task will still take, as soon as its pace is known."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """``3 min 5 s left``; ``? left`` where that cannot be known; nothing once it is finished."""
        pace: Pace = task.fields["pace"]
        if task.finished or task.stop_time is not None:
            return Text("")
        left = pace.left(task.get_time())
        return Text("? left" if left is None else f"{duration(left)} left", style="progress.remaining")


class Done(ProgressColumn):
    """How much of a task is done."""

    def render(self, task: Task) -> Text:
        """``6/10``, or ``29 %`` of a large total."""
        if task.total is not None and task.total >= COUNTED:
            return Text(f"{task.percentage:.0f} %", style="progress.download")
        return Text(f"{task.completed:.0f}/{task.total or 0:.0f}", style="progress.download")


class Bars:
    """A `medistill.progress.Progress` drawn by Rich on stderr; finished bars stay."""

    def __init__(self, console: Console, stop: Stop) -> None:
        self.stop = stop
        narrow = console.width < NARROW
        self.rich = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=10 if narrow else 24),
            Done(),
            *([] if narrow else [TimeElapsedColumn()]),
            TimeLeft(),
            TextColumn(
                "{task.fields[figures]}",
                markup=False,
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            console=console,
            expand=True,
            redirect_stdout=False,
        )

    def task(self, title: str, total: int, *, done: int = 0) -> Bar:
        """Start a bar."""
        pace = Pace(total, done, self.rich.get_time())
        return Bar(self, self.rich.add_task(title, total=total, completed=done, figures="", pace=pace), pace)

    def say(self, message: str) -> None:
        """Print a line above the bars."""
        self.rich.console.print(message, markup=False, highlight=False)

    def __enter__(self) -> Self:
        self.rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rich.stop()


class Bar:
    """One bar."""

    def __init__(self, bars: Bars, number: TaskID, pace: Pace) -> None:
        self.bars, self.number, self.pace = bars, number, pace

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Move on; a safe point."""
        self.pace.advance(steps, self.bars.rich.get_time())
        self.bars.rich.update(self.number, completed=self.pace.done, total=self.pace.total, figures=figures)
        self.bars.stop.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.rich.stop_task(self.number)
        done = self.pace.total if error is None and self.pace.done else self.pace.done  # the length can be an estimate
        self.bars.rich.update(self.number, completed=done, figures="")
