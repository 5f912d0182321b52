"""Bars: progress on a terminal, one bar a task, with time left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from medistill_cli.lines import duration
from medistill_cli.stop import Stop

PACE_SECONDS = 120.0
"""How far back the pace is measured that the time left is told from."""


class TimeLeft(ProgressColumn):
    """How long a task will still take, as soon as its pace is known."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """``3 min 5 s left``, or nothing."""
        if task.finished or task.time_remaining is None:
            return Text("")
        return Text(f"{duration(task.time_remaining)} left", style="progress.remaining")


class Bars:
    """A `medistill.progress.Progress` drawn by Rich on stderr; finished bars stay."""

    def __init__(self, console: Console, stop: Stop) -> None:
        self.stop = stop
        self.rich = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeLeft(),
            TextColumn("{task.fields[figures]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            console=console,
            expand=True,
            redirect_stdout=False,
            speed_estimate_period=PACE_SECONDS,
        )

    def task(self, title: str, total: int, *, done: int = 0) -> Bar:
        """Start a bar."""
        return Bar(self, self.rich.add_task(escape(title), total=total, completed=done, figures=""))

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

    def __init__(self, bars: Bars, number: TaskID) -> None:
        self.bars, self.number = bars, number

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Move on; a safe point."""
        self.bars.rich.update(self.number, advance=steps, figures=escape(figures))
        self.bars.stop.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.rich.stop_task(self.number)
        self.bars.rich.update(self.number, figures="")
