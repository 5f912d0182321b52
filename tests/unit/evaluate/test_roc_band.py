"""ROC bands against the plain curve of images that are really repeated."""

from __future__ import annotations

import numpy as np
import pytest

from medistill.evaluate.intervals import resamples
from medistill.evaluate.metrics import roc_curve
from medistill.evaluate.roc_band import roc_band
from tests.unit.evaluate.test_delong import patients_with_both

GRID = np.linspace(0.0031, 0.9972, 57)
"""Rates that no share of the controls equals: where the curve is vertical two roundings may take either end."""


@pytest.mark.parametrize(("seed", "decimals"), [(0, 1), (1, 0), (2, 9)])
def test_band_is_that_of_repeated_images(seed: int, decimals: int) -> None:
    scores, positive, groups = patients_with_both(seed, patients=50, networks=3)
    scores = np.round(scores + np.random.default_rng(seed).normal(size=scores.shape), decimals)
    chunks = list(resamples(50, 150, np.random.default_rng(seed)))
    sensitivity, low, high = roc_band(scores, positive, groups, chunks, confidence=0.9, grid=GRID)
    curves = []
    for draw in np.concatenate(chunks, axis=1).T:
        taken = np.repeat(np.arange(len(groups)), draw[groups].astype(int))
        curves.append(np.mean([roc_curve(network[taken], positive[taken], GRID) for network in scores], axis=0))
    np.testing.assert_allclose(
        sensitivity, np.mean([roc_curve(network, positive, GRID) for network in scores], axis=0), atol=1e-12
    )
    np.testing.assert_allclose(low, np.quantile(curves, 0.05, axis=0), atol=1e-9)
    np.testing.assert_allclose(high, np.quantile(curves, 0.95, axis=0), atol=1e-9)
    assert np.all(low < high)


def test_band_leaves_out_resamples_without_a_case() -> None:
    """With 1 of 60 patients a case some 37 % of the resamples lack it, with 5 of them some 0.5 %."""
    numbers = np.random.default_rng(0)
    scores, groups = numbers.normal(size=(2, 60)), np.arange(60)
    chunks = list(resamples(60, 1000, np.random.default_rng(1)))
    for with_case in (1, 5):
        positive = groups < with_case
        lacking = np.mean(np.concatenate(chunks, axis=1)[:with_case].sum(axis=0) == 0)
        _, low, high = roc_band(scores, positive, groups, chunks, confidence=0.95, grid=GRID)
        assert (lacking > 0.05) == (with_case == 1)
        assert len(low) == len(high) == (0 if with_case == 1 else len(GRID))
        assert np.isfinite(low).all()


def test_no_band_for_one_patient_or_a_perfect_ranking() -> None:
    positive = np.array([True] * 10 + [False] * 10)
    scores = np.random.default_rng(0).normal(size=(1, 20))
    one = [np.full((1, 8), 1.0, np.float32)]
    sensitivity, low, high = roc_band(scores, positive, np.zeros(20, int), one, confidence=0.95, grid=GRID)
    assert (len(sensitivity), len(low), len(high)) == (len(GRID), 0, 0)
    chunks = list(resamples(20, 100, np.random.default_rng(0)))
    sensitivity, low, high = roc_band(
        10.0 * positive[None] + scores, positive, np.arange(20), chunks, confidence=0.95, grid=GRID
    )
    assert (sensitivity == 1).all()
    assert (len(low), len(high)) == (0, 0)


def test_constant_scores_give_the_diagonal() -> None:
    positive = np.arange(40) % 2 == 0
    chunks = list(resamples(40, 50, np.random.default_rng(0)))
    sensitivity, low, _ = roc_band(np.zeros((2, 40)), positive, np.arange(40), chunks, confidence=0.95, grid=GRID)
    np.testing.assert_allclose(sensitivity, GRID, atol=1e-12)
    assert len(low) == 0
