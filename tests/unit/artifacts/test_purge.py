"""A purge takes away each kind by itself, follows links to what is ours, tells what it leaves, notices who works."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medistill.artifacts import purge as purge_module
from medistill.artifacts.atomic import private_folder, write_text
from medistill.artifacts.cache import KINDS, cache_root
from medistill.artifacts.purge import purge
from medistill.errors import UsageError
from medistill_cli.main import app

A, B = "a" * 64, "b" * 64


def _filled(root: Path) -> Path:
    """A cache with something of every kind in it."""
    for name, size in (
        (f"sources/{A}.json", 7),
        (f"sources/{A}.lock", 0),
        (f"sources/{A}/0.safetensors", 5),
        (f"staging/{A}/0.npz", 9),
        ("pulled/dicomweb-0123/instances/x.dcm", 11),
        (f"corpora/{A}/images.npy", 100),
        (f"corpora/{B}/images.npy", 20),
        (f"trajectories/{A}/expert_0000.safetensors", 3),
        (f"decoders/{A}/weights.safetensors", 4),
        (f"features/{B}/features.npy", 13),
        (f"features/{B}.lock", 0),
        ("tuning.json", 2),
    ):
        write_text(root / name, "x" * size, private=True)
    return root


def _left(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_it_counts_and_removes_only_what_is_its_own(tmp_path: Path) -> None:
    root = _filled(tmp_path / "cache")
    (root / "keep.txt").write_text("not a corpus")
    (root / "phantom" / "v1").mkdir(parents=True)
    (root / "encoders" / A).mkdir(parents=True)
    done = purge(root)
    gone = done.removed
    assert (gone.bytes, gone.corpora, gone.trajectories, gone.decoders, gone.features) == (174, 2, 1, 1, 1)
    assert done.left == ()
    assert _left(root) == ["encoders", f"encoders/{A}", "keep.txt", "phantom", "phantom/v1"]
    assert purge(root).removed.bytes == 0


@pytest.mark.parametrize("kind", ["corpora", "trajectories", "sources", "decoders", "features", "pulled"])
def test_a_kind_that_is_a_link_is_emptied_and_the_others_go_too(tmp_path: Path, kind: str) -> None:
    root = _filled(tmp_path / "cache")
    (root / kind).rename(tmp_path / "big disk")
    (root / kind).symlink_to(tmp_path / "big disk")
    done = purge(root)
    assert done.left == ()
    assert _left(root) == []
    assert not (tmp_path / "big disk").exists()


def test_behind_a_link_what_is_not_called_as_ours_stays_and_is_told(tmp_path: Path) -> None:
    root, home = _filled(tmp_path / "cache"), tmp_path / "home"
    (root / "corpora").rename(home)
    (home / "thesis").mkdir()
    (home / "thesis" / "last.tex").write_text("years of work")
    (root / "corpora").symlink_to(home)
    done = purge(root)
    assert [path.name for path in home.iterdir()] == ["thesis"]
    assert (home / "thesis" / "last.tex").read_text() == "years of work"
    assert len(done.left) == 1
    assert str(home / "thesis") in done.left[0]
    assert _left(root) == ["corpora"]


def test_an_entry_that_was_moved_is_removed_where_it_lies(tmp_path: Path) -> None:
    root = _filled(tmp_path / "cache")
    (root / "corpora" / A).rename(tmp_path / "moved")
    (root / "corpora" / A).symlink_to(tmp_path / "moved")
    assert purge(root).left == ()
    assert not (tmp_path / "moved").exists()
    assert _left(root) == []


def test_other_links_are_cut_and_told_and_never_followed(tmp_path: Path) -> None:
    root, outside = _filled(tmp_path / "cache"), tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("of somebody else")
    (root / "corpora" / A / "link").symlink_to(outside)
    (root / "corpora" / "named").symlink_to(outside)
    (root / "sources" / "broken").symlink_to(tmp_path / "nowhere")
    (root / "tuning.json").unlink()
    (root / "tuning.json").symlink_to(outside / "file")
    done = purge(root)
    assert (outside / "file").read_text() == "of somebody else"
    assert _left(root) == []
    assert len(done.left) == 3
    assert all(str(outside) in words for words in done.left)


def test_a_link_to_the_whole_cache_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _filled(tmp_path / "disk")
    (tmp_path / "cache").symlink_to(root)
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "cache"))
    assert purge().left == ()
    assert _left(root) == []


def test_files_where_folders_should_be_and_folders_where_files_should_be(tmp_path: Path) -> None:
    root = _filled(tmp_path / "cache")
    (root / "tuning.json").unlink()
    write_text(root / "tuning.json" / "x", "", private=True)
    (root / "staging" / A / "0.npz").unlink()
    (root / "staging" / A).rmdir()
    (root / "staging").rmdir()
    (root / "staging").write_text("")
    assert purge(root).left == ()
    assert _left(root) == []


def test_folders_that_may_not_be_written_to_are_made_writable(tmp_path: Path) -> None:
    root = _filled(tmp_path / "cache")
    (root / "corpora" / A / "images.npy").chmod(0o400)
    (root / "corpora" / A).chmod(0o500)
    (root / "corpora").chmod(0o500)
    command = [sys.executable, "-c", "from medistill.artifacts.purge import purge; assert purge().left == ()"]
    if os.geteuid() == 0:  # root may write everywhere, unless it gives that up
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and there is no setpriv")
        command = ["setpriv", "--bounding-set=-dac_override", *command]
    subprocess.run(command, env={**os.environ, "MEDISTILL_CACHE": str(root)}, check=True, capture_output=True)
    assert _left(root) == []


def test_one_that_cannot_be_removed_is_told_and_the_others_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _filled(tmp_path / "cache")
    stuck, unlink = root / "corpora" / A / "images.npy", Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path == stuck:
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    monkeypatch.setenv("MEDISTILL_CACHE", str(root))
    done = CliRunner().invoke(app, ["purge", "--yes", "--json"])
    assert done.exit_code == 3
    assert json.loads(done.stdout)["removed"] == {
        "bytes": 74,
        "corpora": 1,
        "trajectories": 1,
        "decoders": 1,
        "features": 1,
    }
    assert json.loads(done.stdout)["left"] == [f"{stuck}: Operation not permitted"]
    assert str(stuck) in done.stderr
    assert _left(root) == ["corpora", f"corpora/{A}", f"corpora/{A}/images.npy"]


AT_WORK = """
import sys
from medistill.artifacts.cache import cache_root
cache_root()
print("here", flush=True)
sys.stdin.read()
"""


def _at_work(root: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "MEDISTILL_CACHE": str(root)}
    process = subprocess.Popen(
        [sys.executable, "-c", AT_WORK], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


def test_a_running_process_is_noticed_and_nothing_is_removed(tmp_path: Path) -> None:
    root = _filled(tmp_path / "cache")
    before = _left(root)
    with _at_work(root) as process:
        with pytest.raises(UsageError, match=f"id {process.pid}"):
            purge(root)
        assert set(before) <= set(_left(root))
        process.communicate("")
    assert purge(root).left == ()
    assert _left(root) == []


def test_one_that_was_killed_is_in_nobodys_way(tmp_path: Path) -> None:
    root = _filled(tmp_path / "cache")
    with _at_work(root) as process:
        process.kill()
        process.wait()
    assert purge(root).left == ()
    assert _left(root) == []


def test_nobody_begins_while_a_purge_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, remove = _filled(tmp_path / "cache"), purge_module._remove_kind
    begun: list[subprocess.Popen[str]] = []

    def slow(place: Path, left: list[str]) -> None:
        remove(place, left)
        if not begun:
            begun.append(
                subprocess.Popen(
                    [sys.executable, "-c", AT_WORK],
                    env={**os.environ, "MEDISTILL_CACHE": str(root)},
                    text=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            with pytest.raises(subprocess.TimeoutExpired):
                begun[0].communicate(timeout=1)

    monkeypatch.setattr(purge_module, "_remove_kind", slow)
    assert purge(root).left == ()
    with begun[0] as process:
        assert process.communicate("")[0] == "here\n"


def test_the_process_that_purges_is_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _filled(tmp_path / "cache")
    monkeypatch.setenv("MEDISTILL_CACHE", str(root))
    cache_root()
    assert list(root.glob("user-*.lock"))
    assert purge(root).left == ()
    assert _left(root) == []


def test_folders_that_come_back_are_private_whoever_makes_them(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        for kind in KINDS[:-1]:
            private_folder(tmp_path / "cache" / kind / A)
            write_text(tmp_path / "other" / kind / A / "file", "", private=True)
        write_text(tmp_path / "set" / "deep" / "manifest.json", "{}")
    finally:
        os.umask(umask)
    for root in (tmp_path / "cache", tmp_path / "other"):
        for path in (root, *root.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o600 if path.is_file() else 0o700), path
    assert stat.S_IMODE((tmp_path / "set" / "deep").stat().st_mode) == 0o755
