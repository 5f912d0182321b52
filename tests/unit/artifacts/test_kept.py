"""What is kept tells when it is read whether it is what was written: every damage, and files that changed places."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.atomic import read_json, read_tensors, write_json, write_tensors
from medistill.artifacts.kept import (
    keep_json,
    keep_tensors,
    read_checked,
    read_checked_json,
    read_kept,
    read_result,
)
from medistill.errors import ArtifactError

ARRAYS = {
    "test": np.arange(24, dtype=np.float32).reshape(4, 6),
    "groups": np.arange(4),
    "none": np.zeros((0, 3), np.uint8),
    "flags": np.array([True, False]),
    "one": np.asarray(3),
}


def _rewritten(path: Path, change: Callable[[dict[str, np.ndarray], dict[str, str]], None]) -> None:
    """Write the file again with something else in it, and its old checksum."""
    arrays, metadata = read_tensors(path, "test")
    change(arrays, metadata)
    write_tensors(path, arrays, metadata)


def test_what_was_kept_comes_back_to_the_bit_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "raw_000.safetensors"
    keep_tensors(path, {**ARRAYS, "turned": ARRAYS["test"].T}, {"key": "k"})
    said: list[str] = []
    found = read_kept(path, "k", "answers", said.append)
    assert found is not None
    assert not said
    for name, array in {**ARRAYS, "turned": ARRAYS["test"].T}.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_kept(path, "another key", "answers", said.append) is None
    assert path.exists(), "what another run keeps is no damage"
    assert not said


def _halves(arrays: dict[str, np.ndarray], _: dict[str, str]) -> None:
    arrays["test"] = np.concatenate([arrays["test"][2:], arrays["test"][:2]])


def _names(arrays: dict[str, np.ndarray], _: dict[str, str]) -> None:
    arrays["test"], arrays["groups"] = arrays["groups"], arrays["test"]


def _shape(arrays: dict[str, np.ndarray], _: dict[str, str]) -> None:
    arrays["test"] = arrays["test"].reshape(6, 4)


def _kind(arrays: dict[str, np.ndarray], _: dict[str, str]) -> None:
    arrays["test"] = arrays["test"].view(np.int32)


def _gone(arrays: dict[str, np.ndarray], _: dict[str, str]) -> None:
    del arrays["flags"]


def _fact(_: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    metadata["images"] = "31"


def _unsigned(_: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    del metadata["checksum"]


@pytest.mark.parametrize("change", [_halves, _names, _shape, _kind, _gone, _fact, _unsigned])
def test_every_change_is_said_and_the_file_is_made_again(
    tmp_path: Path, change: Callable[[dict[str, np.ndarray], dict[str, str]], None]
) -> None:
    path = tmp_path / "raw_000.safetensors"
    keep_tensors(path, ARRAYS, {"key": "k", "images": "30"})
    _rewritten(path, change)
    with pytest.raises(ArtifactError, match="raw_000") as caught:
        read_checked(path, "answers")
    assert "checksum" in caught.value.seen
    said: list[str] = []
    assert read_kept(path, "k", "answers", said.append) is None
    assert len(said) == 1
    assert str(path) in said[0]
    assert not path.exists()


def test_a_flipped_bit_or_a_cut_file_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "raw_000.safetensors"
    for harm in (lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data[:40], lambda _: b""):
        keep_tensors(path, ARRAYS, {"key": "k"})
        path.write_bytes(harm(path.read_bytes()))
        said: list[str] = []
        assert read_kept(path, "k", "answers", said.append) is None
        assert len(said) == 1
        assert not path.exists()


def test_files_that_changed_places_are_noticed_though_their_key_is_the_same(tmp_path: Path) -> None:
    paths = [tmp_path / "raw_000.safetensors", tmp_path / "random_000.safetensors"]
    for number, path in enumerate(paths):
        keep_tensors(path, {"test": np.full(3, number, np.float32)}, {"key": "k"})
    shutil.move(paths[0], tmp_path / "aside")
    shutil.move(paths[1], paths[0])
    shutil.move(tmp_path / "aside", paths[1])
    said: list[str] = []
    assert [read_kept(path, "k", "answers", said.append) for path in paths] == [None, None]
    assert len(said) == 2


def test_tensors_of_a_version_without_checksums_are_made_again(tmp_path: Path) -> None:
    path = tmp_path / "raw_000.safetensors"
    write_tensors(path, ARRAYS, {"key": "k"})
    said: list[str] = []
    assert read_kept(path, "k", "answers", said.append) is None
    assert "older versions" in said[0]


def test_a_record_is_checked_under_its_own_name(tmp_path: Path) -> None:
    value = {"schema": 2, "auc": 0.43, "points": [[1, 0.5], None], "names": {"b": "ü\n", "a": 1}, "networks": {1: 2}}
    path = tmp_path / "evaluation.json"
    keep_json(path, value, private=True)
    plain = {**value, "networks": {"1": 2}}
    assert read_result(path, "evaluation") == read_checked_json(path, "evaluation") == plain
    assert list(read_json(path, "evaluation")) == [*value, "checksum"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(json.dumps(json.loads(path.read_text())), encoding="utf-8")  # another layout of the same values
    assert read_result(path, "evaluation") == plain
    shutil.copy(path, tmp_path / "membership.json")
    with pytest.raises(ArtifactError, match=r"membership\.json"):
        read_result(tmp_path / "membership.json", "attacks")
    path.write_text(path.read_text().replace("0.43", "0.34"), encoding="utf-8")
    for read in (read_result, read_checked_json):
        with pytest.raises(ArtifactError, match=r"evaluation\.json") as caught:
            read(path, "evaluation")
        assert "checksum does not fit" in caught.value.seen


def test_a_record_of_a_version_without_checksums_is_a_result_but_no_cache(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    assert read_result(tmp_path / "x.json", "evaluation") == {"a": 1}
    with pytest.raises(ArtifactError, match="no checksum"):
        read_checked_json(tmp_path / "x.json", "tuning")
