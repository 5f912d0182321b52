"""Normalisation against numpy's own mean and deviation, and there and back again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medistill.artifacts.normalisation import Normalisation

PIXELS = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 4), st.sampled_from([1, 3]), st.integers(1, 5), st.integers(1, 5))
)


@settings(max_examples=60, deadline=None)
@given(PIXELS)
def test_constants_are_those_of_numpy_and_the_way_back_is_exact(images: np.ndarray) -> None:
    found = Normalisation.of(images)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(found.mean, scaled.mean(axis=(0, 2, 3)), atol=1e-12)
    np.testing.assert_allclose(found.std, np.maximum(scaled.std(axis=(0, 2, 3)), 1 / 255), atol=1e-7)
    normal = found.apply(images)
    assert normal.dtype == np.float32
    np.testing.assert_array_equal(found.invert(normal), images)
    assert Normalisation.from_json(json.loads(json.dumps(found.as_json())), Path()) == found


def test_applied_channel_by_channel() -> None:
    images = np.zeros((2, 3, 1, 1), np.uint8)
    images[:, 0], images[:, 1], images[:, 2] = 51, 102, 255
    normal = Normalisation((0.1, 0.2, 0.5), (0.1, 0.5, 0.25)).apply(images)
    np.testing.assert_allclose(normal[0].ravel(), [1.0, 0.4, 2.0], rtol=1e-6)


def test_a_memory_map_is_measured_like_an_array(tmp_path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4)).astype(np.uint8)
    np.save(tmp_path / "x.npy", images)
    assert Normalisation.of(np.load(tmp_path / "x.npy", mmap_mode="r")) == Normalisation.of(images)


def test_beyond_the_range_is_black_or_white() -> None:
    values = np.array([-100.0, 100.0], np.float32).reshape(2, 1, 1, 1)
    assert Normalisation((0.5,), (0.2,)).invert(values).ravel().tolist() == [0, 255]


@pytest.mark.parametrize("level", [0, 7, 255])
def test_a_constant_image_is_not_divided_by_zero(level: int) -> None:
    found = Normalisation.of(np.full((3, 1, 4, 4), level, np.uint8))
    assert found.std == (1 / 255,)
    assert np.isfinite(found.apply(np.full((1, 1, 1, 1), 255 - level, np.uint8))).all()


@pytest.mark.parametrize("count", [1, 64, 150])
def test_it_is_measured_block_by_block_as_all_at_once(count: int) -> None:
    images = np.random.default_rng(count).integers(0, 256, (200, 2, 5, 6), np.uint8)
    rows = np.sort(np.random.default_rng(0).permutation(200)[:count])
    found, chosen = Normalisation.of(images, rows), images[rows].astype(np.float64) / 255
    assert found == Normalisation.of(images[rows])
    assert found.mean == pytest.approx(tuple(chosen.mean((0, 2, 3))))
    assert found.std == pytest.approx(tuple(chosen.std((0, 2, 3))))
