"""Progress among ranks: every safe point is a sign of life; those that go in step stop at the same one, and one that
works while it would wait stops when it is called."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from medistill.progress import Progress, Task


class Stoppable(Protocol):
    """Ranks that go in step: whether this one wishes to stop, and whether all have heard that one does."""

    wants_stop: bool
    stops: bool


class Beating(Protocol):
    """What takes signs of life."""

    def beat(self, doing: str = "") -> None:
        """Give a sign."""

    def safe_point(self) -> None:
        """Give a sign, and stop where another rank has failed."""


class InStep:
    """A progress whose tasks stop when all ranks know of the wish, which they do at the same step.

    Args:
        inner: of this rank.
        ranks: that go in step.
    """

    def __init__(self, inner: Progress, ranks: Stoppable) -> None:
        self.inner, self.ranks = inner, ranks

    def task(self, title: str, total: int, *, done: int = 0) -> Task:
        """Start a task."""
        return _TaskInStep(self.inner.task(title, total, done=done), self.ranks)

    def say(self, message: str) -> None:
        """Pass a line on."""
        self.inner.say(message)


class _TaskAround:
    """A task with another inside."""

    def __init__(self, inner: Task) -> None:
        self.inner = inner

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Pass on."""
        self.inner.advance(steps, figures=figures)

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inner.__exit__(kind, error, trace)


class _TaskInStep(_TaskAround):
    def __init__(self, inner: Task, ranks: Stoppable) -> None:
        super().__init__(inner)
        self.ranks = ranks

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Pass on; stop where all ranks do."""
        try:
            super().advance(steps, figures=figures)
        except KeyboardInterrupt:
            self.ranks.wants_stop = True
        if self.ranks.stops:
            raise KeyboardInterrupt


class CalledError(Exception):
    """What was done while another rank worked is no longer wanted. Nothing is half done."""


class UntilCalled:
    """A progress whose tasks stop once this rank is called.

    Args:
        inner: of this rank.
        called: whether it is.
    """

    def __init__(self, inner: Progress, called: Callable[[], bool]) -> None:
        self.inner, self.called = inner, called

    def task(self, title: str, total: int, *, done: int = 0) -> Task:
        """Start a task."""
        return _TaskUntilCalled(self.inner.task(title, total, done=done), self.called)

    def say(self, message: str) -> None:
        """Pass a line on."""
        self.inner.say(message)


class _TaskUntilCalled(_TaskAround):
    def __init__(self, inner: Task, called: Callable[[], bool]) -> None:
        super().__init__(inner)
        self.called = called

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Pass on.

        Raises:
            CalledError: this rank is called.
        """
        super().advance(steps, figures=figures)
        if self.called():
            raise CalledError


class Heard:
    """A progress that gives a sign of life whenever something is told.

    Args:
        inner: of this rank.
        life: takes the signs.
    """

    def __init__(self, inner: Progress, life: Beating) -> None:
        self.inner, self.life = inner, life

    def task(self, title: str, total: int, *, done: int = 0) -> Task:
        """Start a task."""
        self.life.beat(title)
        return _HeardTask(self.inner.task(title, total, done=done), self.life)

    def say(self, message: str) -> None:
        """Pass a line on."""
        self.life.beat()
        self.inner.say(message)


class _HeardTask(_TaskAround):
    def __init__(self, inner: Task, life: Beating) -> None:
        super().__init__(inner)
        self.life = life

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Give a sign, and pass on."""
        self.life.safe_point()
        super().advance(steps, figures=figures)
