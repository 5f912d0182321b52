"""Progress on stderr, as lines and as bars, and the wish to stop."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from rich.console import Console

from medistill.pace import duration
from medistill_cli import lines
from medistill_cli.bars import Bars
from medistill_cli.lines import Lines
from medistill_cli.stop import Stop
from medistill_cli.working import continuing


def nothing() -> None:
    """A notice that nobody hears."""


def test_lines_tell_the_start_the_end_and_little_between(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Lines(Stop(nothing))
    with progress.task("Counting", 1000) as task:
        for _ in range(1000):
            task.advance(figures="loss 0.5")
    told = capsys.readouterr().err.splitlines()
    assert told == ["Counting: 0 of 1000", "Counting: 1000 of 1000, loss 0.5, done after 0 s"]


def test_of_hundreds_of_short_tasks_of_a_kind_the_first_is_told_and_one_that_takes_its_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(lines.time, "monotonic", lambda: clock[0])
    progress = Lines(Stop(nothing))
    for number in range(300):
        with progress.task(f"Measuring class {number}", 608) as task:
            clock[0] += 30.0 if number == 200 else 0.01
            task.advance(608)
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in told] == ["Measuring class 0"] * 2 + ["Measuring class 200"] * 2
    with pytest.raises(ValueError, match="out"), progress.task("Measuring class 300", 608):
        raise ValueError("out")
    assert capsys.readouterr().err == "Measuring class 300: 0 of 608, stopped after 0 s\n"


def test_lines_tell_the_time_left_from_the_pace_of_this_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(lines.time, "monotonic", lambda: clock[0])
    task = Lines(Stop(nothing)).task("Training", 100, done=80)
    for _ in range(5):
        clock[0] += 4.0
        task.advance()
    told = capsys.readouterr().err.splitlines()
    # 4 s a step: told after 12 s with 17 steps left, since 10 s must lie between two lines.
    assert told == ["Training: 80 of 100", "Training: 83 of 100, about 1 min 8 s left"]


@pytest.mark.parametrize("steps", [30, 120])
def test_lines_of_a_task_of_estimated_length_end_complete_and_never_late(
    steps: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(lines.time, "monotonic", lambda: clock[0])
    with Lines(Stop(nothing)).task("Quantising", 100) as task:
        for _ in range(steps):
            clock[0] += 1.0
            task.advance()
    told = capsys.readouterr().err.splitlines()
    count = f"{steps} of {steps}, " if steps >= 100 else ""
    assert told[-1] == f"Quantising: {count}done after {duration(steps)}"
    totals = [int(line.split(" of ")[1].split(",")[0]) for line in told if " of " in line]
    assert totals == sorted(totals)  # none shrinks
    assert not any("-" in line for line in told)


@pytest.mark.parametrize(("steps", "shown"), [(3, "10/10"), (12, "12/12")])
def test_bars_of_a_task_of_estimated_length_end_full_and_those_of_a_stopped_one_do_not(steps: int, shown: str) -> None:
    drawn = io.StringIO()
    clock = [0.0]
    with Bars(Console(file=drawn, force_terminal=True, width=120, color_system=None), Stop(nothing)) as bars:
        bars.rich.get_time = lambda: clock[0]
        with bars.task("Quantising", 10) as task:
            for _ in range(steps):
                clock[0] += 10.0
                task.advance()
        stopped = bars.task("Encoding", 10)
        stopped.advance()
        stopped.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    last = drawn.getvalue().split("Quantising")[-1]
    assert shown in last
    assert "left" not in last.split("Encoding")[0]
    assert "1/10" in last


def test_bars_show_count_figures_and_time_left_and_print_brackets_as_they_are() -> None:
    drawn = io.StringIO()
    clock = [0.0]
    with Bars(Console(file=drawn, force_terminal=True, width=120, color_system=None), Stop(nothing)) as bars:
        bars.rich.get_time = lambda: clock[0]
        bars.say("a [word] in brackets")
        with bars.task("Distilling", 10, done=4) as task:
            for _ in range(2):
                clock[0] += 10.0
                task.advance(figures="loss [0.5]")
            bars.rich.refresh()
    text = drawn.getvalue()
    assert "a [word] in brackets" in text
    assert "Distilling" in text
    assert "6/10" in text
    assert "loss [0.5]" in text
    assert "40 s left" in text


@pytest.mark.parametrize("width", [80, 120])
def test_bars_tell_the_arm_and_the_time_left_of_long_epochs_on_terminals_of_any_width(width: int) -> None:
    drawn = io.StringIO()
    clock = [0.0]
    with Bars(Console(file=drawn, force_terminal=True, width=width, color_system=None), Stop(nothing)) as bars:
        bars.rich.get_time = lambda: clock[0]
        with bars.task("Evaluating on convnet", 10_000_000, done=2_000_000) as task:
            for _ in range(2):  # ten minutes an epoch: longer than the pace is remembered
                clock[0] += 600.0
                task.advance(2_000_000, figures="distilled, network 2 of 5")
            bars.rich.refresh()
    text = drawn.getvalue()
    assert "60 %" in text
    assert "20 min 0 s left" in text
    assert "distilled, network 2 of 5" in text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_waits_for_a_safe_point_and_the_second_does_not(number: signal.Signals, code: int) -> None:
    heard = []
    before = signal.getsignal(number)
    with Stop(lambda: heard.append(1)) as stop:
        task = Lines(stop).task("Working", 10)
        task.advance()
        os.kill(os.getpid(), number)
        assert heard == [1]
        with pytest.raises(KeyboardInterrupt):
            task.advance()
        assert stop.exit_code == code
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_forked_worker_waits_for_its_parent_but_can_be_ended() -> None:
    reading, writing = os.pipe()
    with Stop(nothing):
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            os.write(writing, b"alive")
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.read(reading, 5) == b"alive"
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143


def test_the_command_that_continues_is_quoted_and_gets_resume_once(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(Path("my images"))
    monkeypatch.setattr("sys.argv", ["medistill", "distill", "--data", folder])
    assert continuing("resume") == "medistill distill --data 'my images' --resume"
    assert continuing("repeat") == "medistill distill --data 'my images'"
    monkeypatch.setattr("sys.argv", ["medistill", "distill", "--resume"])
    assert continuing("resume") == "medistill distill --resume"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_was_ignored_stays_ignored(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with Stop(nothing) as stop:
            os.kill(os.getpid(), number)
            stop.check()
        assert stop.wanted is None
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_a_hangup_waits_for_a_safe_point_however_often_it_comes() -> None:
    with Stop(nothing) as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            stop.check()
    assert stop.exit_code == 129


WORK = """
import sys, time
from pathlib import Path
import typer
from medistill_cli.working import working

def work():
    with working("resume") as progress, progress.task("Working", 10**6) as task:
        try:
            for _ in range(10**6):
                time.sleep(0.002)
                progress.say("a line")
                task.advance(figures="some")
        except KeyboardInterrupt:
            Path(sys.argv[1]).write_text("saved")
            raise

try:
    work()
except typer.Exit as ended:
    sys.exit(ended.exit_code)
"""


def _in_a_terminal(folder: Path, *words: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a program in a folder, in which nohup writes, as the head of a terminal of its own; the other end of it."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        words,
        cwd=folder,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(its)
    return process, ours


def test_work_whose_terminal_closes_stops_at_a_safe_point(tmp_path: Path) -> None:
    process, terminal = _in_a_terminal(tmp_path, sys.executable, "-c", WORK, str(tmp_path / "state"))
    with process:
        while b"a line" not in os.read(terminal, 1000):
            pass
        os.close(terminal)
        assert process.wait(timeout=30) == 129
    assert (tmp_path / "state").read_text() == "saved"


def test_work_under_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    work = WORK.replace("range(10**6)", "range(300)")
    process, terminal = _in_a_terminal(tmp_path, "nohup", sys.executable, "-c", work, str(tmp_path / "state"))
    with process:
        time.sleep(0.5)
        os.close(terminal)
        assert process.wait(timeout=60) == 0
    assert not (tmp_path / "state").exists()


def test_work_goes_on_where_nobody_reads_its_progress() -> None:
    work = WORK.replace("range(10**6)", "range(100)")
    with subprocess.Popen([sys.executable, "-c", work, "x"], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.stderr.close()
        assert process.wait(timeout=30) == 0
