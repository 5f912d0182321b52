"""Nothing is sent, nothing fetched: every command where only loopback is there, with code in C and child processes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.every_command import commands, names
from tests.loopback_only import REFUSED, is_here

ROOT = Path(__file__).parents[2]
ANSWERS = {"audit": {0, 4, 7}}
"""Exit codes of commands that answer with them; others end in 0."""


def isolated() -> list[str]:
    """What to put before a command so that it runs with no network but a loopback of its own."""
    tool = shutil.which("unshare")
    words = [tool or "", "--net", *(["--map-root-user"] if os.getuid() else [])]
    if tool is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("this machine gives no network namespace (unshare --net)")
    return words


def test_every_command_of_the_program_is_tried() -> None:
    assert {name for name, _ in commands("http://127.0.0.1/", lambda package: True)} == names()


@pytest.mark.timeout(900)
def test_no_command_sends_anything_or_asks_for_a_name(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    others = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    places = {"HOME": str(home), "MEDISTILL_CACHE": str(tmp_path / "cache"), "MEDISTILL_KEYS": str(tmp_path / "keys")}
    environment = {**others, **places, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
    done = subprocess.run(
        [*isolated(), sys.executable, "-m", "tests.every_command", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert done.returncode == 0, done.stderr
    *calls, sent, counted = map(json.loads, done.stdout.splitlines())
    assert not [call for call in calls if call["exit"] not in ANSWERS.get(call["command"], {0})]
    assert not any(sent["sent"].values()), sent
    assert counted["counted"] > 0  # a name that is asked for on purpose does show
    left = {file.relative_to(home).parts[:2] for file in home.rglob("*") if file.is_file()}
    assert left <= {(".cache", "matplotlib")}


@pytest.mark.parametrize(
    ("host", "connect", "look_up"),
    [
        ("127.0.0.1", True, True),
        ("::1", True, True),
        ("localhost", True, True),
        ("", True, True),
        (None, True, True),
        (b"localhost", True, True),
        ("192.0.2.1", False, True),
        ("medistill.invalid", False, False),
        (b"medistill.invalid", False, False),
    ],
)
def test_what_is_this_machine(host: object, connect: bool, look_up: bool) -> None:
    assert is_here(host, number=False) is connect
    assert is_here(host, number=True) is look_up


def test_the_suite_itself_is_refused_other_machines() -> None:
    with pytest.raises(PermissionError, match=r"medistill\.invalid"):
        socket.getaddrinfo("medistill.invalid", 443)
    with socket.socket() as tcp, pytest.raises(PermissionError, match=r"192\.0\.2\.1"):
        tcp.connect(("192.0.2.1", 443))
    with socket.socket(type=socket.SOCK_DGRAM) as udp, pytest.raises(PermissionError, match=r"192\.0\.2\.1"):
        udp.sendto(b"x", ("192.0.2.1", 53))
    assert REFUSED == ["socket.getaddrinfo medistill.invalid", "socket.connect 192.0.2.1", "socket.sendto 192.0.2.1"]
    REFUSED.clear()
