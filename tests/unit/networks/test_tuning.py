"""The measured micro-batch: what is chosen, what is remembered, and what stays without measuring."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from medistill.networks.tuning import tuned_micro_batch

IDENTITY = {"work": "test", "device": "cpu"}


def working(seconds_an_image: dict[int, float], seen: list[int]):
    """Work whose speed at each size is given."""

    def work(size: int) -> None:
        seen.append(size)
        time.sleep(size * seconds_an_image[size])

    return work


def choose(path: Path, speeds: dict[int, float], *, estimate: int = 8, whole: int = 64) -> tuple[int, list[int]]:
    seen: list[int] = []
    return tuned_micro_batch(estimate, whole, working(speeds, seen), IDENTITY, path), seen


def test_a_batch_that_fits_the_estimate_is_not_measured(tmp_path):
    assert choose(tmp_path / "tuning.json", {}, estimate=8, whole=8) == (8, [])
    assert not (tmp_path / "tuning.json").exists()


def test_a_much_quicker_size_is_taken_and_remembered_in_a_private_file(tmp_path):
    path = tmp_path / "tuning.json"
    speeds = {4: 4e-3, 8: 4e-3, 16: 1e-3, 32: 4e-3, 64: 4e-3}
    chosen, seen = choose(path, speeds)
    assert chosen == 16
    assert set(seen) <= set(speeds)
    assert seen[0] == 8
    assert path.stat().st_mode & 0o777 == 0o600
    assert choose(path, speeds) == (16, [])


def test_the_estimate_stays_where_another_is_hardly_quicker(tmp_path):
    assert choose(tmp_path / "tuning.json", dict.fromkeys((4, 8, 16, 32, 64), 1e-3))[0] == 8


def test_measuring_ends_in_time(tmp_path):
    started = time.perf_counter()
    chosen, seen = choose(tmp_path / "tuning.json", dict.fromkeys((4, 8, 16, 32, 64), 0.05))
    assert time.perf_counter() - started < 4
    assert chosen == 8
    assert 64 not in seen


@pytest.mark.parametrize("text", ["", "[]", "not json", '{"x": 3}', '{"x": {"micro_batch": "many"}}'])
def test_a_damaged_file_is_measured_anew(tmp_path, text):
    path = tmp_path / "tuning.json"
    path.write_text(text)
    speeds = {4: 4e-4, 8: 4e-4, 16: 1e-4, 32: 4e-4, 64: 4e-4}
    assert choose(path, speeds)[0] == 16
    (entry,) = (value for name, value in json.loads(path.read_text()).items() if name != "checksum")
    assert entry["micro_batch"] == 16


def test_another_number_of_threads_is_other_work(tmp_path, monkeypatch):
    path = tmp_path / "tuning.json"
    speeds = dict.fromkeys((4, 8, 16, 32, 64), 1e-4)
    choose(path, speeds)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert choose(path, speeds)[1]
