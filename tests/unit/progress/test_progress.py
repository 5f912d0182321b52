"""The silent progress is a drop-in for any other, and swallows nothing."""

from __future__ import annotations

import pytest

from medistill.progress import Progress, Silent, SilentTask, Task


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    progress: Progress = Silent()
    progress.say("words")
    task: Task
    with progress.task("title", 3, done=1) as task:
        task.advance()
        task.advance(2, figures="loss 0.1")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_errors_and_interrupts_pass_through() -> None:
    for kind in (KeyError, KeyboardInterrupt):
        with pytest.raises(kind), Silent().task("title", 1):
            raise kind


def test_entering_a_task_gives_that_task() -> None:
    task = SilentTask()
    with task as entered:
        assert entered is task
