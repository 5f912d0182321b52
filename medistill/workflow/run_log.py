"""The log of a run: everything that was said and how far each task got, as JSON lines, beside whatever draws it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from medistill.artifacts.atomic import unwritable
from medistill.progress import Progress, Task

SECONDS_BETWEEN = 5.0
"""Least time between two lines of one task."""


class RunLog:
    """A `Progress` that passes everything on and keeps a record in ``log.jsonl``."""

    def __init__(self, path: Path, inner: Progress) -> None:
        self.path, self.inner = path, inner

    def task(self, title: str, total: int, *, done: int = 0) -> LoggedTask:
        """Start a task on both sides."""
        self.write(event="start", task=title, total=total, done=done)
        return LoggedTask(self, self.inner.task(title, total, done=done), title, total, done)

    def say(self, message: str) -> None:
        """Pass a line on and keep it."""
        self.write(event="say", message=message)
        self.inner.say(message)

    def write(self, **values: object) -> None:
        """Append one line.

        Raises:
            ArtifactError: the disk is full or the folder cannot be written.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"seconds": round(time.time(), 1), **values}) + "\n")
        except OSError as error:
            raise unwritable(self.path, error) from error


class LoggedTask:
    """A task that is drawn by another and logged every few seconds."""

    def __init__(self, log: RunLog, inner: Task, title: str, total: int, done: int) -> None:
        self.log, self.inner, self.title, self.total, self.done = log, inner, title, total, done
        self.figures, self.last = "", time.monotonic()

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        """Count, log what begins and how it goes now and then, and pass on."""
        self.done, self.figures = self.done + steps, figures
        if steps == 0 or time.monotonic() - self.last >= SECONDS_BETWEEN or self.done == self.total:
            self.last = time.monotonic()
            self.log.write(event="progress", task=self.title, total=self.total, done=self.done, figures=figures)
        self.inner.advance(steps, figures=figures)

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.log.write(event="end", task=self.title, total=self.total, done=self.done, figures=self.figures)
        self.inner.__exit__(kind, error, trace)
