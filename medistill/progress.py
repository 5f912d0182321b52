"""What the workflows say while they work. The command line draws it; a notebook may ignore it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self


class Task(Protocol):
    """One piece of work, of known or estimated length. A context manager: leaving it without an error completes it."""

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Say that ``steps`` more are done, or with 0 what comes next; ``figures`` is a short text beside the bar.

        This is a safe point: everything that the step made is complete. An implementation that was asked to stop
        raises ``KeyboardInterrupt`` here and nowhere else.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def every_epoch_but_last(task: Task, epochs: int, steps: int, figures: str) -> Callable[[int, object], None]:
    """What a training calls after each epoch to advance a task by ``steps``.

    The last epoch counts for whoever keeps what came of the training: a task that is stopped there would have lost it.
    """

    def after_epoch(epoch: int, _: object) -> None:
        if epoch < epochs:
            task.advance(steps, figures=figures)

    return after_epoch


def by_pass(task: Task, images: int, most: int | None = None) -> Callable[[int], None]:
    """What work in passes over so many images calls after each batch: its task, of one step, then tells of the pass.

    How many passes there will be is not known before the last, so that no share of them can be told.
    """
    seen, bound = 0, "" if most is None else f" of at most {most}"

    def tick(batch: int) -> None:
        nonlocal seen
        seen += batch
        task.advance(0, figures=f"pass {-(-seen // images)}{bound}")

    return tick


class Progress(Protocol):
    """Where a workflow's words go."""

    def task(self, title: str, total: int, *, done: int = 0) -> Task:
        """Start a bar of ``total`` steps, ``done`` of which an earlier run has finished."""

    def say(self, message: str) -> None:
        """Tell the user one line. Never a patient's identifier."""


class SilentTask:
    """A task that nobody watches."""

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""


class Silent:
    """The default: says nothing."""

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        """Return a task that nobody watches."""
        return SilentTask()

    def say(self, message: str) -> None:
        """Do nothing."""


class StepsInside:
    """Progress of the steps of one part, told on the bar of all of them; each step stays a safe point to stop at."""

    def __init__(self, outer: Task, which: str) -> None:
        self.outer, self.which = outer, which

    def task(self, title: str, total: int, *, done: int = 0) -> _StepInside:
        """A step of the part."""
        return _StepInside(self.outer, f"{self.which}: {title.lower()}", total, done)

    def say(self, message: str) -> None:
        """Nothing: the lines of a part are those of the whole."""


class _StepInside:
    """A step of one part."""

    def __init__(self, outer: Task, title: str, total: int, done: int) -> None:
        self.outer, self.title, self.total, self.done = outer, title, total, done

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Tell how far it is."""
        self.done += steps
        self.outer.advance(0, figures=f"{self.title}, {self.done} of {self.total}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing: the bar is the outer task's."""
