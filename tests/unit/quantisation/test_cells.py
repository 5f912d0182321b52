"""Cells against loops over codes and patients, scikit-learn's k-means, and classes with too few patients."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from medistill.errors import DataError
from medistill.quantisation.cells import Cells, assign, distinct, quantise


def unseen(_: int) -> None:
    """Nobody watches."""


def quantised(codes: np.ndarray, groups: np.ndarray | None = None, count: int = 4, **changed: Any) -> Cells:
    given = {"least": 1, "passes": 3, "refine": 200, "batch": 64, "seed": 0, "name": "Normal", "tick": unseen}
    groups = np.arange(len(codes)) if groups is None else groups
    return quantise(codes.astype(np.float32), groups, count, **{**given, **changed})


def blobs(sizes: list[int], *, apart: float = 100, seed: int = 0) -> np.ndarray:
    """Float32 (n, 3): far-off blobs of these sizes, one after another."""
    rng = np.random.default_rng(seed)
    centres = apart * np.array([[np.cos(k), np.sin(k), k % 2] for k in range(len(sizes))])
    return (np.repeat(centres, sizes, axis=0) + rng.standard_normal((sum(sizes), 3))).astype(np.float32)


def patients(cell: np.ndarray, groups: np.ndarray, k: int) -> int:
    """By their share of the cell's images, the sum of whose squares is the chance that two are of one patient."""
    inside = [int(group) for group, at in zip(groups, cell, strict=True) if at == k]
    return int(1 / sum(Fraction(inside.count(group), len(inside)) ** 2 for group in set(inside)))


def check(cells: Cells, codes: np.ndarray, groups: np.ndarray, count: int, least: int) -> None:
    """What must hold of any cells, by loops."""
    assert cells.centres.dtype == np.float32
    assert 1 <= len(cells.centres) == count - cells.given_up
    middle = np.median(cells.centres, axis=0)
    for code, k in zip(codes.astype(np.float64), cells.cell, strict=True):
        squared, away = ((cells.centres - code) ** 2).sum(axis=1), ((code - middle) ** 2).sum()
        assert squared[k] <= squared.min() + 1e-5 * (1 + squared.min()) + 1e-6 * away  # products are of float32
    for k in range(len(cells.centres)):
        assert cells.images[k] == np.sum(cells.cell == k)
        inside = len(np.unique(groups[cells.cell == k])) if cells.set_aside else patients(cells.cell, groups, k)
        assert least <= cells.patients[k] <= inside


@pytest.mark.parametrize("offset", [0, 10_000])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_a_pass_finds_what_a_loop_finds(offset, batch):
    rng = np.random.default_rng(0)
    codes = (offset + rng.integers(-50, 50, (90, 5))).astype(np.float32)
    centres = codes[[3, 30, 60, 61]] + np.float32(0.5)
    told: list[int] = []
    found = assign(codes, centres, batch=batch, tick=told.append)
    squared = ((codes[:, None].astype(np.float64) - centres[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(found.cell, squared.argmin(axis=1))
    np.testing.assert_allclose(found.squared, squared.min(axis=1))
    for k in range(4):
        np.testing.assert_allclose(found.sums[k], codes[found.cell == k].sum(axis=0, dtype=np.float64))
    assert sum(told) == 90


def test_different_codes_are_counted_as_far_as_asked():
    codes = np.repeat(np.arange(10, dtype=np.float32), 9)[:, None]
    assert distinct(codes, 100, batch=7) == 10
    assert 4 <= distinct(codes, 4, batch=7) <= 10
    assert distinct(codes[:1], 1, batch=7) == 1


def test_blobs_are_found_with_their_means_and_masses_the_largest_first():
    sizes = [20, 60, 40]
    codes = blobs(sizes)
    cells = quantised(codes, count=3, least=5)
    assert cells.images.tolist() == [60, 40, 20]
    for k, blob in enumerate([slice(20, 80), slice(80, 120), slice(0, 20)]):
        np.testing.assert_allclose(cells.centres[k], codes[blob].mean(axis=0), rtol=1e-5, atol=1e-4)
        assert set(cells.cell[blob]) == {k}
    check(cells, codes, np.arange(120), 3, 5)


def test_the_distortion_is_near_that_of_the_best_of_many_starts():
    codes = np.random.default_rng(0).standard_normal((1500, 6)).astype(np.float32)
    best = KMeans(12, n_init=10, random_state=0).fit(codes).inertia_
    cells = quantised(codes, count=12, passes=10, batch=256)
    assert ((codes - cells.centres[cells.cell]) ** 2).sum() < 1.03 * best


def test_one_centroid_is_the_mean_of_the_class():
    codes = np.random.default_rng(0).standard_normal((77, 4)).astype(np.float32)
    cells = quantised(codes, count=1)
    np.testing.assert_allclose(cells.centres[0], codes.mean(axis=0), atol=1e-6)
    assert cells.images.tolist() == cells.patients.tolist() == [77]


def test_a_centroid_far_away_does_not_blur_the_others():
    """With the mean of the centroids as origin, the one at 8,000 put all products near 1e6, and codes went astray."""
    rng = np.random.default_rng(0)
    codes = np.concatenate([rng.uniform(-5, 5, 400), [8_000.0]])[:, None].astype(np.float32)
    centres = np.array([-4, -3.97, 0, 0.02, 2, 4, 8_000], np.float32)[:, None]
    found = assign(codes, centres, batch=64, tick=lambda done: None)
    squared = ((codes[:, None].astype(np.float64) - centres[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(found.squared, squared.min(axis=1), rtol=1e-4, atol=1e-5)


@example(1, 106, 7, 1, 1, 1, 0, "heavy")
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(20, 120),
    st.integers(1, 20),
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([0, 1, 300]),
    st.sampled_from(["normal", "heavy", "few"]),
)
def test_whatever_the_class_every_cell_has_enough_patients(seed, n, count, least, dimension, images, refine, kind):
    rng = np.random.default_rng(seed)
    codes = {
        "normal": rng.standard_normal((n, dimension)),
        "heavy": rng.standard_cauchy((n, dimension)),
        "few": np.concatenate([np.arange(count)[:, None] * np.ones(dimension), np.zeros((n, dimension))])[:n],
    }[kind].astype(np.float32)
    groups = rng.integers(0, max(least, n // images), n)
    assume(patients(np.zeros(n), groups, 0) >= least)
    cells = quantised(codes, groups, count, least=least, refine=refine, seed=seed)
    check(cells, codes, groups, count, least)
    assert (np.diff(cells.images) <= 0).all()
    if refine == 300 and not cells.set_aside:
        for k, centre in enumerate(cells.centres):
            np.testing.assert_allclose(
                centre, codes[cells.cell == k].mean(axis=0, dtype=np.float64), rtol=1e-3, atol=1e-4
            )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 5),
    st.integers(1, 6),
    st.lists(st.integers(1, 24), min_size=1, max_size=4, unique=True).map(sorted),
    st.sampled_from([0, 50]),
    st.sampled_from(["normal", "grid"]),
)
def test_smaller_sets_are_parts_of_larger_ones(seed, least, dimension, levels, refine, kind):
    rng = np.random.default_rng(seed)
    drawn = {"normal": rng.standard_normal((90, dimension)), "grid": rng.integers(0, 5, (90, dimension))}[kind]
    codes = drawn.astype(np.float32)
    assume(len(np.unique(codes, axis=0)) >= levels[-1])
    groups = rng.integers(0, 60, 90)
    told = {"least": least, "refine": refine, "seed": seed}
    nested = quantised(codes, groups, levels[-1], levels=levels, **told)
    check(nested, codes, groups, levels[-1], least)
    assert len(nested.levels) == len(levels)
    assert nested.levels[-1] == len(nested.centres)
    alone = quantised(codes, groups, levels[0], **told)
    assert alone.levels == nested.levels[:1]
    for number in range(len(levels)):
        part = quantised(codes, groups, levels[number], levels=levels[:number], **told)
        np.testing.assert_array_equal(part.centres, nested.centres[: nested.levels[number]])
    assert (np.diff(nested.images[(0, *nested.levels)[-2] :]) <= 0).all()


def test_levels_beyond_what_is_asked_for_take_no_part():
    codes = np.random.default_rng(0).standard_normal((90, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        quantised(codes, count=4, levels=(2, 4, 9, 30)).centres, quantised(codes, count=4, levels=(2,)).centres
    )


def test_nothing_but_the_seed_decides(tmp_path: Path):
    codes = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    np.save(tmp_path / "codes.npy", codes)
    told = {"count": 12, "levels": (3,), "least": 3}
    first = quantised(codes, **told)
    with threadpool_limits(2):
        again = quantised(np.load(tmp_path / "codes.npy", mmap_mode="r"), **told)
    np.testing.assert_array_equal(first.centres, again.centres)
    np.testing.assert_array_equal(first.cell, again.cell)
    assert any(not np.array_equal(first.centres, quantised(codes, seed=seed, **told).centres) for seed in (1, 2))


FIRST = """
import numpy as np
from threadpoolctl import threadpool_info
from medistill.quantisation.cells import quantise

def tick(_):
    assert {library["num_threads"] for library in threadpool_info()} == {1}, threadpool_info()

codes = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
quantise(codes, np.arange(60), 4, least=2, passes=1, refine=2, batch=16, seed=0, name="", tick=tick)
assert {library["num_threads"] for library in threadpool_info()} == {2}
"""


def test_libraries_that_the_first_call_loads_run_on_one_thread_too():
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", FIRST], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_centroid_of_one_outlying_patient_moves_into_a_large_cell():
    codes = blobs([60, 60])
    codes = np.concatenate([codes, codes[:1] + np.float32(10)])
    isolated = [seed for seed in range(12) if quantised(codes, count=3, seed=seed).patients.min() == 1]
    assert isolated
    for seed in isolated:
        cells = quantised(codes, count=3, least=5, seed=seed)
        assert cells.given_up == 0
        assert np.linalg.norm(cells.centres - codes[-1], axis=1).min() > 5
        check(cells, codes, np.arange(121), 3, 5)


def test_patients_are_counted_and_not_images():
    codes = blobs([40, 40])
    groups = np.concatenate([np.arange(40), np.full(40, 99)])  # the second blob is one patient
    assert quantised(codes, count=2).given_up == 0
    cells = quantised(codes, groups, 2, least=3)
    check(cells, codes, groups, 2, 3)
    assert (np.linalg.norm(cells.centres - codes[40:].mean(axis=0), axis=1) > 10).all()


def test_centroids_are_given_up_where_there_are_too_few_patients_for_all():
    codes = np.random.default_rng(0).standard_normal((23, 2)).astype(np.float32)
    cells = quantised(codes, count=20, least=5)
    assert 1 <= len(cells.centres) <= 4
    assert cells.given_up == 20 - len(cells.centres) >= 16
    check(cells, codes, np.arange(23), 20, 5)


def test_a_frozen_cell_keeps_enough_patients():
    rng = np.random.default_rng(0)
    codes = np.concatenate([rng.standard_normal((30, 1)), 8 + 0.01 * rng.standard_normal((30, 1))]).astype(np.float32)
    for least in (8, 12):
        cells = quantised(codes, count=9, levels=(1, 2), least=least)
        check(cells, codes, np.arange(60), 9, least)
        np.testing.assert_array_equal(cells.centres[:1], quantised(codes, count=1, least=least).centres)


def test_fewer_different_images_than_centroids_are_refused():
    codes = np.repeat(np.arange(3.0), 20)[:, None]
    with pytest.raises(DataError, match=r"class Normal has only 3 different .*images, fewer than 4.*--ipc 3"):
        quantised(codes, count=4)
    cells = quantised(codes, count=3, least=20)
    assert sorted(cells.centres[:, 0]) == [0, 1, 2]
    with pytest.raises(DataError, match="class Normal has only 1 different"):
        quantised(np.zeros((50, 4)), count=2)


def test_a_class_of_fewer_patients_than_a_cell_needs_is_refused():
    codes = np.random.default_rng(0).standard_normal((40, 3))
    with pytest.raises(DataError, match=r"class Normal has 4 training patients.*min_cluster_size = 5.*show them"):
        quantised(codes, np.arange(40) % 4, 1, least=5)
    assert quantised(codes, np.arange(40) % 4, 1, least=4).patients.tolist() == [4]
    with pytest.raises(DataError, match="class Normal has 3 training patients") as refused:
        quantised(np.eye(3, dtype=np.float32), np.arange(3), 9, least=5)
    assert "--ipc" not in str(refused.value)  # 3 images a class would be refused as well


def test_a_patient_with_most_of_the_images_does_not_hide_behind_others():
    codes = np.random.default_rng(0).normal(size=(104, 3)).astype(np.float32)
    groups = np.array([0] * 100 + [1, 2, 3, 4])
    assert quantised(codes, groups, 1, least=1).patients.tolist() == [104**2 // (100**2 + 4)] == [1]
    with pytest.raises(DataError, match="has 5 training patients, who by their share of its images count as 1"):
        quantised(codes, groups, 1, least=2)


@pytest.mark.parametrize("apart", [3, 10, 100])
def test_a_few_outliers_do_not_draw_mean_after_mean_to_themselves(apart):
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((600, 32)) * np.arange(1, 33) ** -0.7
    quiet = quantised(codes.astype(np.float32), count=50, least=5, passes=10, refine=50, batch=512)
    codes[:3] *= apart * np.linalg.norm(codes, axis=1).mean() / np.linalg.norm(codes[:3], axis=1, keepdims=True)
    cells = quantised(codes.astype(np.float32), count=50, least=5, passes=10, refine=50, batch=512)
    assert len(quiet.centres) >= 40
    assert len(cells.centres) >= 0.75 * len(quiet.centres)
    assert cells.set_aside <= 60
    assert np.linalg.norm(cells.centres, axis=1).max() < 3 * np.linalg.norm(codes[3:], axis=1).max()
    assert cells.images.sum() == 600
    assert cells.patients.min() >= 5
