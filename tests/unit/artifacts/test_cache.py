"""The private cache: where it lies, and who may enter."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from medistill.artifacts.cache import cache_root


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
