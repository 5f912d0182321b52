"""What files hold: read again wherever the file system might not tell of a change."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from medistill.artifacts.atomic import sha256_file
from medistill.data import file_digests as module
from medistill.data.file_digests import file_digests
from medistill.progress import Silent

NAMES = ["a", "b", os.fsdecode(b"c\xff")]
local = pytest.mark.skipif(not module.MOUNTS.is_file(), reason="file systems are known by name on Linux alone")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for number, name in enumerate(NAMES):
        (tmp_path / "data" / name).write_bytes(bytes([number]) * 100)
    return tmp_path / "data"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files that were opened to be read."""
    names: list[str] = []

    def watched(path: Path) -> str:
        names.append(path.name)
        return sha256_file(path)

    monkeypatch.setattr(module, "sha256_file", watched)
    return names


def ask(folder: Path) -> list[str]:
    return file_digests(folder, NAMES, folder.parent / "known", Silent())


def let_time_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.time_ns() + 2 * module.MOMENT
    monkeypatch.setattr(module.time, "time_ns", lambda: later)


@local
def test_a_file_that_has_not_changed_for_a_moment_is_read_once(folder, opened, monkeypatch) -> None:
    monkeypatch.setattr(module, "LOCAL", module.LOCAL | {"9p", "virtiofs", "fuse"})
    let_time_pass(monkeypatch)
    first = ask(folder)
    assert first == [sha256_file(folder / name) for name in NAMES]
    assert sorted(opened) == sorted(NAMES)
    opened.clear()
    assert ask(folder) == first
    assert opened == []
    facts = (folder / "b").stat()
    (folder / "b").write_bytes(b"x" * 100)
    os.utime(folder / "b", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert ask(folder)[1] == sha256_file(folder / "b") != first[1]
    assert opened[0] == "b"
    assert stat.S_IMODE((folder.parent / "known").stat().st_mode) == 0o600


def test_a_file_that_has_just_changed_is_read_again(folder, opened) -> None:
    assert ask(folder) == ask(folder)
    assert len(opened) == 2 * len(NAMES)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "vfat", "fuse.sshfs"])
def test_other_file_systems_are_not_believed(folder, opened, monkeypatch, tmp_path, kind) -> None:
    mounts = tmp_path / "mounts"
    point = str(folder).replace(" ", "\\040")
    mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/a rw\n36 22 0:42 / {point} rw shared:1 - {kind} from rw\n")
    monkeypatch.setattr(module, "MOUNTS", mounts)
    let_time_pass(monkeypatch)
    assert ask(folder) == ask(folder)
    assert len(opened) == 2 * len(NAMES)
    mounts.write_text("22 1 8:1 / / rw - ext4 /dev/a rw\n")
    ask(folder)
    assert len(opened) == 2 * len(NAMES)


def test_what_is_no_file_is_not_opened(folder, opened) -> None:
    os.remove(folder / "a")
    os.mkfifo(folder / "a")
    os.remove(folder / "b")
    (folder / "b").symlink_to("nowhere")
    assert len(set(ask(folder))) == 3
    assert opened == [NAMES[2]]


def test_a_damaged_memory_is_no_memory(folder) -> None:
    first = ask(folder)
    (folder.parent / "known").write_text('{"a": [1, 2')
    assert ask(folder) == first
