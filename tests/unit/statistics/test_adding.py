"""Adding statistics of two hospitals against the sums over all their patients at once."""

from __future__ import annotations

import numpy as np
import pytest

from medistill.artifacts.class_statistics import ClassStatistics
from medistill.artifacts.projection import Projection, ProjectionRecord
from medistill.statistics.adding import added
from medistill.statistics.contributions import Blocks
from medistill.statistics.release import release, summed
from medistill.training.exact_normal import BITS

IDENTITY = Projection(np.zeros(6, np.float32), np.ones(6, np.float32), ProjectionRecord(kind="none", encoder="0" * 64))
BLOCKS = Blocks(classes=3, dimension=6, clip=1.5, counts=0.1, second=0.2)
NAMES = ("A", "B", "C")
SIGMA = 0.8


def released(features: np.ndarray, labels: np.ndarray, units: np.ndarray, noise: np.ndarray) -> ClassStatistics:
    return release(
        lambda some: features[some],
        labels,
        units,
        class_names=NAMES,
        projection=IDENTITY,
        blocks=BLOCKS,
        sigma=SIGMA,
        unit="patient",
        noise=lambda _: noise,
    )


def test_two_hospitals_add_up_to_the_sum_over_all_patients_and_of_both_noises() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(80, 6)).astype(np.float16), rng.integers(0, 3, 80)
    units = np.concatenate([rng.integers(0, 9, 40), 100 + rng.integers(0, 11, 40)])  # nobody was at both
    noises = rng.integers(-(2**BITS), 2**BITS, (2, BLOCKS.length))
    halves = (slice(0, 40), slice(40, 80))
    east, west = (released(features[h], labels[h], units[h], one) for h, one in zip(halves, noises, strict=True))
    united = added([("east", east, NAMES), ("west", west, NAMES)])

    steps = summed(lambda some: IDENTITY.apply(features[some]), labels, units, BLOCKS, SIGMA) + noises.sum(axis=0)
    sums, counts, second = BLOCKS.unstacked((steps + 1.0) * (SIGMA / 2**BITS))  # each release is rounded down by itself
    np.testing.assert_allclose(united.sums, sums, rtol=0, atol=1e-12)
    np.testing.assert_allclose(united.counts, counts, rtol=0, atol=1e-12)
    assert united.second is not None
    np.testing.assert_allclose(united.second, second, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(united.sums, east.sums + west.sums)
    for of in ("sums_noise", "counts_noise"):
        assert getattr(united.record, of) == pytest.approx(np.sqrt(2) * np.array(getattr(east.record, of)))
    assert (united.record.releases, united.record.unit) == (2, "patient")
