"""The private cache: where it lies, who may enter, and what a purge takes away."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from medistill.artifacts.cache import cache_root, purge


def test_root_is_chosen_by_the_environment_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "deep" / "cache"))
    assert cache_root() == tmp_path / "deep" / "cache"
    assert stat.S_IMODE(cache_root().stat().st_mode) == 0o700


def test_root_may_name_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MEDISTILL_CACHE", "~/mine")
    assert cache_root() == tmp_path / "mine"


def test_root_is_the_platforms_own_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDISTILL_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root().is_relative_to(tmp_path)
    assert cache_root().name == "medistill"


def test_purge_counts_and_removes_only_what_is_its_own(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("a file elsewhere")
    root = tmp_path / "cache"
    for name, size in (
        ("corpora/a/images.npy", 100),
        ("corpora/b/images.npy", 20),
        ("trajectories/t/e.bin", 3),
        ("decoders/d/w", 4),
    ):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(b"x" * size)
    (root / "corpora" / "a" / "link").symlink_to(tmp_path)
    (root / "keep.txt").write_text("not a corpus")
    purged = purge(root)
    assert (purged.bytes, purged.corpora, purged.trajectories, purged.decoders) == (127, 2, 1, 1)
    assert sorted(entry.name for entry in root.iterdir()) == ["keep.txt"]
    assert outside.read_text() == "a file elsewhere"
    again = purge(root)
    assert (again.bytes, again.corpora, again.trajectories, again.decoders) == (0, 0, 0, 0)
