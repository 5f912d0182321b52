"""Trajectories: a row read at random is the row of the whole, and damage never reaches a computation."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.artifacts.atomic import read_tensors
from medistill.artifacts.bfloat16 import LARGEST, RELATIVE_ERROR, from_bfloat16, to_bfloat16
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
        np.full((EPOCHS + 1, 41), -3.395e38, np.float32),
    ],
    ids=["epochs", "parameters", "flat", "nan", "infinite", "too large for float32", "too large for bfloat16"],
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


@pytest.mark.parametrize("key", ["key", "count", "epochs", "names", "shapes", "normalisation", "store", "made_with"])
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


BITS = st.integers(0, 2**32 - 1).map(lambda bits: np.array([bits], np.uint32).view(np.float32))


@settings(max_examples=300, deadline=None)
@given(BITS.filter(lambda value: bool(np.abs(value) <= LARGEST)))
def test_bfloat16_is_torchs(value: np.ndarray) -> None:
    bits = to_bfloat16(value)
    theirs = torch.from_numpy(value).to(torch.bfloat16)
    np.testing.assert_array_equal(bits, theirs.view(torch.int16).numpy().view(np.uint16))
    np.testing.assert_array_equal(from_bfloat16(bits), theirs.float().numpy())


def test_bfloat16_rounds_to_nearest_and_ties_to_even() -> None:
    """All 2^16 patterns, one below, at and one above the middle to the next: against torch."""
    upper = np.arange(2**16, dtype=np.uint32) << 16
    for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        values = (upper | lower).view(np.float32)
        values = values[np.abs(values) <= LARGEST]
        theirs = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
        np.testing.assert_array_equal(to_bfloat16(values), theirs)


def test_the_error_of_bfloat16_is_the_one_that_is_stated() -> None:
    """The bound holds for normal numbers, and the worst value comes close to it."""
    significands = np.linspace(1, 2, 2**16 + 1, dtype=np.float32)[:-1]
    for exponent in (-126, -10, 0, 100):
        values = np.ldexp(significands, exponent)
        error = np.abs(from_bfloat16(to_bfloat16(values)).astype(np.float64) - values) / values
        assert 0.98 * RELATIVE_ERROR < error.max() <= RELATIVE_ERROR
    assert from_bfloat16(to_bfloat16(np.zeros(1, np.float32)))[0] == 0


def test_a_store_in_bfloat16_gives_rounded_float32_from_half_the_bytes(tmp_path: Path) -> None:
    half = open_trajectories(tmp_path / "half", _description(store="bfloat16"))
    whole = open_trajectories(tmp_path / "whole", _description())
    for made in (half, whole):
        made.save_expert(0, _walk(0))
    header = 800
    assert half.bytes < whole.bytes / 2 + header
    assert half.bytes >= _walk(0).nbytes / 2
    for epoch in range(EPOCHS + 1):
        row = half.snapshot(0, epoch)
        assert row.dtype == np.float32
        np.testing.assert_array_equal(row, torch.from_numpy(_walk(0)[epoch]).bfloat16().float().numpy())
        assert np.abs(row - _walk(0)[epoch]).max() > 0
    assert (half.largest_relative_error, whole.largest_relative_error) == (2**-8, 0)
    assert json.loads((half.path / "meta.json").read_text())["largest_relative_error"] == 2**-8
    assert load_trajectories(half.path).store == "bfloat16"


def test_an_expert_in_another_number_format_is_no_expert_of_the_store(tmp_path: Path) -> None:
    half = open_trajectories(tmp_path / "half", _description(store="bfloat16"))
    whole = open_trajectories(tmp_path / "whole", _description())
    whole.save_expert(0, _walk(0))
    half.expert_path(0).write_bytes(whole.expert_path(0).read_bytes())
    assert not half.has(0)
    with pytest.raises(ArtifactError, match="belongs to another"):
        half.snapshot(0, 0)


@pytest.mark.parametrize("store_format", ["float32", "bfloat16"])
def test_reading_one_snapshot_of_a_large_file_reads_that_snapshot_only(tmp_path: Path, store_format: str) -> None:
    """A file of 400 MB, with holes for all rows but one: the process may not grow by more than a few rows."""
    parameters, epochs = 1_000_000, 99
    description = _description(epochs=epochs, names=["w"], shapes=[[parameters]], store=store_format)
    made = open_trajectories(tmp_path, description)
    width, kind = (4, "F32") if store_format == "float32" else (2, "U16")
    row = np.random.default_rng(0).standard_normal(parameters).astype(np.float32)
    stored = row if store_format == "float32" else to_bfloat16(row)
    epoch, length = 57, (epochs + 1) * parameters * width
    checksums = [0] * (epochs + 1)
    checksums[epoch] = zlib.crc32(stored.tobytes())
    header = json.dumps(
        {
            "__metadata__": {"key": made.key, "expert": "0", "crc32": json.dumps(checksums)},
            "snapshots": {"dtype": kind, "shape": [epochs + 1, parameters], "data_offsets": [0, length]},
        }
    ).encode()
    header += b" " * (-len(header) % 8)
    with made.expert_path(0).open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.seek(epoch * parameters * width, 1)
        file.write(stored.tobytes())
        file.truncate(8 + len(header) + length)
    read = "import resource, sys; from pathlib import Path; import numpy, safetensors\n"
    read += "from medistill.artifacts.trajectories import load_trajectories\n"
    read += "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    read += "store, before = load_trajectories(Path(sys.argv[1])), peak()\n"
    read += f"row = store.snapshot(0, {epoch}); print(peak() - before, float(row[12345]))"
    done = subprocess.run([sys.executable, "-c", read, str(made.path)], capture_output=True, text=True, check=True)
    grown, value = done.stdout.split()
    assert float(value) == float(from_bfloat16(stored)[12345] if store_format == "bfloat16" else row[12345])
    assert int(grown) * 1024 < 10 * row.nbytes < length


def test_damage_that_a_header_shows_makes_an_expert_count_as_missing(store: Trajectories) -> None:
    whole = store.expert_path(0).read_bytes()
    other = open_trajectories(store.path.parent, _description(key="other"))
    other.save_expert(0, _walk(0))
    for damaged in (b"", whole[:4], whole[:-1], whole + b"x", b"\xff" * len(whole), other.expert_path(0).read_bytes()):
        store.expert_path(0).write_bytes(damaged)
        assert not store.has(0)
        assert store.flaw(0)
    assert store.missing() == [0, 1]
    assert store.flaw(1) == "it is missing"
    store.expert_path(0).write_bytes(whole)
    assert store.flaw(0) is None
    assert store.missing() == [1]


def test_what_an_expert_was_made_on_is_kept_beside_it(store: Trajectories) -> None:
    store.save_expert(1, _walk(1), {"device": "cuda", "threads": 3, "micro_batch": 16})
    _, metadata = read_tensors(store.expert_path(1), "test")
    assert json.loads(metadata["made_on"]) == {"device": "cuda", "threads": 3, "micro_batch": 16}
    np.testing.assert_array_equal(store.snapshot(1, 2), _walk(1)[2])


def test_differences_are_named_field_by_field(store: Trajectories) -> None:
    normalisation = store.normalisation.as_json()
    same = {"lr": 0.01, "normalisation": normalisation}
    assert store.differences(same) == []
    assert store.differences({**same, "lr": 0.02}) == ["lr: seen 0.01, expected 0.02"]
    assert store.differences({"normalisation": normalisation}) == ["lr: seen 0.01, expected nothing"]
    told = store.differences({**same, "network": {"width": 4}, "normalisation": {**normalisation, "mean": (0.2,)}})
    assert sorted(told) == ["network.width: seen nothing, expected 4", "normalisation.mean: seen [0.1], expected [0.2]"]


def test_many_may_open_and_fill_a_store_at_once(tmp_path: Path) -> None:
    def work(k: int) -> Trajectories:
        made = open_trajectories(tmp_path / "trajectories", _description(count=3 + k % 2))
        made.save_expert(k % 3, _walk(k % 3))
        return made

    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(work, range(48)))
    assert {made.path for made in stores} == {stores[0].path}
    assert stores[0].missing() == []
    for expert in range(3):
        np.testing.assert_array_equal(stores[0].snapshot(expert, 4), _walk(expert)[4])
    assert sorted(file.name for file in stores[0].path.iterdir()) == [
        *(f"expert_{expert:04d}.safetensors" for expert in range(3)),
        "meta.json",
    ]


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
