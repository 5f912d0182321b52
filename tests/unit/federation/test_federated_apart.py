"""A site's work in a process of its own: what goes in, what comes back, and what becomes of one that dies."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from pathlib import Path

import pytest

from medistill.federation.apart import answer_apart
from medistill.federation.job import write_job
from medistill.federation.messages import HEAD, MAKE, MakeRequest, message, own_version
from medistill.federation.site_file import VARIABLE
from tests.factories.hospitals import site_values, small_recipe, write_site_file

CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")
needs_children = pytest.mark.skipif(not CHILDREN.exists(), reason="the system does not list child processes")


class Unpacked:
    """Something that is no plain bytes."""


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What asks a site for a set, whose images are missing, so that it ends soon."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "site.toml"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = Path(__file__).resolve().parents[3]
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{root / 'cli'}")
    job = write_job(small_recipe(), ["east", "west"], out=tmp_path / "job")
    write_site_file(tmp_path / "site.toml", [("east", site_values(tmp_path / "east", job.sha256, "east"))])
    return message(MakeRequest(protocol=1, medistill=own_version(), recipe=job.recipe.read_text()))


def code(answer: dict[str, bytes] | None) -> str:
    assert answer is not None
    return str(json.loads(answer[HEAD])["code"])


def test_it_answers_as_the_site_does_and_leaves_nothing(request_of: dict[str, bytes], tmp_path: Path) -> None:
    received = {**request_of, "bundle": Unpacked(), "__headers__": Unpacked(), "../escape": b"x"}
    assert code(answer_apart(MAKE, received, "east", lambda: False)) == "data"
    assert not list(tmp_path.glob("medistill-flare-*"))


@needs_children
def test_one_that_is_killed_is_said_to_have_stopped(request_of: dict[str, bytes]) -> None:
    def kill() -> bool:
        for child in CHILDREN.read_text().split():
            if b"medistill.federation.apart" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)
        return False

    assert code(answer_apart(MAKE, request_of, "east", kill)) == "stopped"


@needs_children
def test_one_that_is_asked_to_stop_ends(request_of: dict[str, bytes], tmp_path: Path) -> None:
    assert answer_apart(MAKE, request_of, "east", lambda: True) is None
    assert not any(
        b"medistill.federation.apart" in Path(f"/proc/{child}/cmdline").read_bytes()
        for child in CHILDREN.read_text().split()
    )
    assert not list(tmp_path.glob("medistill-flare-*"))
