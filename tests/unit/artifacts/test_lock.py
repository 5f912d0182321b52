"""The lock: one holder at a time; the others are told, and wait or give up; a killed holder lets go."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from medistill.artifacts.lock import exclusive_lock
from medistill.errors import ArtifactError, UsageError

HOLDER = """
import sys, time
from pathlib import Path
from medistill.artifacts.lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), when_taken=lambda: None, keep=True):
    print("held", flush=True)
    time.sleep(60)
"""


def refuse() -> None:
    raise UsageError("it is taken", expected="a free one", do="wait")


def hold(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_gives_up_or_waits_until_the_first_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "it.lock"
    with hold(path) as holder:
        with pytest.raises(UsageError, match="it is taken"), exclusive_lock(path, when_taken=refuse, keep=True):
            pytest.fail("two processes hold the lock")
        with exclusive_lock(path, when_taken=lambda: holder.send_signal(signal.SIGKILL), keep=True):
            assert holder.wait(timeout=10) == -signal.SIGKILL
    with exclusive_lock(path, when_taken=refuse, keep=True):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("keep", [True, False])
def test_the_lock_is_let_go_of_after_an_error_and_the_file_is_kept_or_not(tmp_path: Path, keep: bool) -> None:
    path = tmp_path / "it.lock"
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), exclusive_lock(path, when_taken=refuse, keep=keep):
            raise ZeroDivisionError
        assert path.exists() == keep


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ArtifactError, match="could not be written"),
        exclusive_lock(tmp_path / "file" / "it.lock", when_taken=refuse, keep=False),
    ):
        pytest.fail("there is no such folder")
