"""Trajectories: a row read at random is the row of the whole, and damage never reaches a computation."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.artifacts.atomic import read_tensors
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.trajectories import Trajectories, load_trajectories, open_trajectories
from medistill.errors import ArtifactError

EPOCHS = 5


def _description(**changes: Any) -> dict[str, Any]:
    description: dict[str, Any] = {
        "key": "a1b2",
        "count": 3,
        "epochs": EPOCHS,
        "names": ["conv.weight", "conv.bias", "scale"],
        "shapes": [[4, 1, 3, 3], [4], []],
        "normalisation": Normalisation((0.1,), (0.3,)).as_json(),
        "made_with": {"lr": 0.01},
    }
    return {**description, **changes}


def _walk(expert: int) -> np.ndarray:
    return np.random.default_rng(expert).standard_normal((EPOCHS + 1, 41)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Trajectories:
    made = open_trajectories(tmp_path / "trajectories", _description())
    made.save_expert(0, _walk(0))
    made.save_expert(2, _walk(2))
    return made


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Trajectories:
    made = open_trajectories(tmp_path_factory.mktemp("store"), _description())
    made.save_expert(0, _walk(0))
    return made


def test_a_store_knows_its_experts(store: Trajectories) -> None:
    assert store.parameters == 4 * 9 + 4 + 1
    assert [store.has(expert) for expert in range(3)] == [True, False, True]
    again = open_trajectories(store.path.parent, _description())
    assert again == store
    assert load_trajectories(store.path, count=7).count == 7
    assert open_trajectories(store.path.parent, _description(count=9)).count == 9


def test_only_the_owner_may_look(store: Trajectories) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in store.path.iterdir()} == {0o600}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, EPOCHS))
def test_a_row_is_the_row_of_the_whole(shared_store: Trajectories, epoch: int) -> None:
    whole, metadata = read_tensors(shared_store.expert_path(0), "test")
    row = shared_store.snapshot(0, epoch)
    assert row.dtype == np.float32
    np.testing.assert_array_equal(row, whole["snapshots"][epoch])
    np.testing.assert_array_equal(row, _walk(0)[epoch])
    assert metadata["key"] == "a1b2"


def test_a_row_belongs_to_its_reader(store: Trajectories) -> None:
    store.snapshot(0, 1)[:] = 0
    np.testing.assert_array_equal(store.snapshot(0, 1), _walk(0)[1])


@pytest.mark.parametrize("epoch", [EPOCHS + 1, 100])
def test_there_is_no_snapshot_after_the_last(store: Trajectories, epoch: int) -> None:
    with pytest.raises(ArtifactError):
        store.snapshot(0, epoch)


def test_a_missing_expert_is_named(store: Trajectories) -> None:
    with pytest.raises(ArtifactError, match=r"expert_0001\.safetensors"):
        store.snapshot(1, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((EPOCHS, 41), np.float32),
        np.zeros((EPOCHS + 1, 40), np.float32),
        np.zeros(41, np.float32),
        np.full((EPOCHS + 1, 41), np.nan, np.float32),
        np.full((EPOCHS + 1, 41), np.inf, np.float32),
        np.full((EPOCHS + 1, 41), 1e300),
    ],
    ids=["epochs", "parameters", "flat", "nan", "infinite", "too large for float32"],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_wrong_expert_is_not_written(store: Trajectories, wrong: np.ndarray) -> None:
    with pytest.raises(ArtifactError, match="not finite or have another shape"):
        store.save_expert(1, wrong)
    assert not store.has(1)


def test_double_precision_is_kept_as_single(store: Trajectories) -> None:
    store.save_expert(1, _walk(1).astype(np.float64) + 1e-12)
    np.testing.assert_array_equal(store.snapshot(1, 3), (_walk(1)[3].astype(np.float64) + 1e-12).astype(np.float32))


def test_every_byte_of_the_snapshots_is_guarded(shared_store: Trajectories) -> None:
    path = shared_store.expert_path(0)
    good = path.read_bytes()
    start = len(good) - _walk(0).nbytes
    rng = np.random.default_rng(7)
    try:
        for place in rng.choice(np.arange(start, len(good)), 120, replace=False):
            bad = bytearray(good)
            bad[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(bad)
            struck = int(place - start) // (4 * 41)
            with pytest.raises(ArtifactError, match=rf"the checksum of snapshot {struck} does not fit.*--resume"):
                shared_store.snapshot(0, struck)
    finally:
        path.write_bytes(good)


def test_a_flipped_bit_in_the_header_is_refused_or_harmless(shared_store: Trajectories) -> None:
    path = shared_store.expert_path(0)
    good = path.read_bytes()
    rng = np.random.default_rng(8)
    refused = 0
    try:
        for place in range(len(good) - _walk(0).nbytes):
            bad = bytearray(good)
            bad[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(bad)
            try:
                row = shared_store.snapshot(0, 2)
            except ArtifactError:
                refused += 1
            else:
                assert row.dtype == np.float32
                np.testing.assert_array_equal(row, _walk(0)[2])
    finally:
        path.write_bytes(good)
    assert refused > 100


@pytest.mark.parametrize("kept", [0, 4, 8, 50, 300, -4, -1])
def test_a_truncated_expert_is_refused(store: Trajectories, kept: int) -> None:
    path = store.expert_path(0)
    path.write_bytes(path.read_bytes()[:kept])
    for epoch in (0, EPOCHS):
        with pytest.raises(ArtifactError, match="cannot be used"):
            store.snapshot(0, epoch)


def test_an_expert_under_another_number_is_refused(store: Trajectories) -> None:
    store.expert_path(1).write_bytes(store.expert_path(0).read_bytes())
    with pytest.raises(ArtifactError, match="belongs to another"):
        store.snapshot(1, 0)


def test_an_expert_whose_numbers_are_said_to_be_integers_is_refused(store: Trajectories) -> None:
    path = store.expert_path(0)
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"I32"', 1))
    with pytest.raises(ArtifactError, match="belongs to another"):
        store.snapshot(0, 0)


def test_an_expert_of_another_run_is_refused(store: Trajectories) -> None:
    other = open_trajectories(store.path.parent, _description(key="other"))
    assert other.path != store.path
    other.expert_path(0).write_bytes(store.expert_path(0).read_bytes())
    with pytest.raises(ArtifactError, match="belongs to another"):
        other.snapshot(0, 0)


def test_another_schema_is_refused(store: Trajectories) -> None:
    meta = store.path / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "schema": 99}))
    with pytest.raises(ArtifactError, match=r"schema 99.*medistill purge"):
        load_trajectories(store.path)


@pytest.mark.parametrize("key", ["key", "count", "epochs", "names", "shapes", "normalisation"])
@pytest.mark.parametrize("value", [None, ...], ids=["null", "missing"])
def test_a_description_with_a_hole_is_refused(store: Trajectories, key: str, value: object) -> None:
    meta = store.path / "meta.json"
    content = json.loads(meta.read_text())
    del content[key]
    meta.write_text(json.dumps(content if value is ... else {**content, key: None}))
    with pytest.raises(ArtifactError, match="damaged"):
        load_trajectories(store.path)


def test_a_flipped_bit_in_the_description_is_refused(store: Trajectories) -> None:
    meta = store.path / "meta.json"
    good = meta.read_bytes()
    rng = np.random.default_rng(3)
    for place in range(0, len(good), 2):
        bad = bytearray(good)
        bad[place] ^= 1 << int(rng.integers(8))
        meta.write_bytes(bad)
        try:
            found = open_trajectories(store.path.parent, _description())
        except ArtifactError:
            continue
        assert found == store


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
import safetensors.numpy
from medistill.artifacts.trajectories import load_trajectories

def half(tensors, path, metadata):
    Path(path).write_bytes(safetensors.numpy.save(tensors, metadata)[:700])
    os.kill(os.getpid(), signal.SIGKILL)

safetensors.numpy.save_file = half
store = load_trajectories(Path(sys.argv[1]))
store.save_expert(int(sys.argv[2]), np.zeros((store.epochs + 1, store.parameters), np.float32))
"""


@pytest.mark.parametrize("expert", [0, 1])
def test_a_kill_while_an_expert_is_written_leaves_the_old_one_or_none(store: Trajectories, expert: int) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(store.path), str(expert)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert store.has(expert) == (expert == 0)
    np.testing.assert_array_equal(store.snapshot(0, 4), _walk(0)[4])
    store.save_expert(expert, _walk(9))
    np.testing.assert_array_equal(store.snapshot(expert, 4), _walk(9)[4])
