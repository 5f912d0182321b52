"""The curve of a small hospital against scikit-learn, naive pairs and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from medistill.evaluate.hospital_curve import hospital_curve, monotone, patients_for
from tests.factories.exchange_example import CLASSES, SETTINGS, SITES, few_answers, truth


def test_a_sequence_is_made_monotone_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    for length in (2, 3, 5, 9):
        for _ in range(20):
            values = rng.normal(size=length)
            other = IsotonicRegression().fit_transform(np.arange(length), values)
            np.testing.assert_allclose(monotone(values), other, atol=1e-12)


def test_where_a_curve_reaches_an_area() -> None:
    sizes, curve = (10, 20, 40), np.array([0.6, 0.7, 0.8])
    assert patients_for(0.7, sizes, curve) == 20
    assert patients_for(0.65, sizes, curve) == pytest.approx(10 * math.sqrt(2))  # half way on the logarithm
    assert patients_for(0.5, sizes, curve) == 10
    assert patients_for(0.81, sizes, curve) == math.inf
    assert patients_for(0.7, sizes, np.array([0.6, 0.7, 0.7])) == 20  # where it is flat, the least


def test_points_are_means_over_the_draws_and_differences_are_paired() -> None:
    found, test = few_answers(), truth()
    for place in (SITES[0], ""):
        rows = [k for k, name in enumerate(test.traits["site"]) if place in ("", name)]
        curve = hospital_curve(found, test, place, CLASSES, SETTINGS, seed=1)
        assert [point.patients for point in curve.points] == [10, 20, 40]
        for k, point in enumerate(curve.points):
            alone, together = (
                np.mean([roc_auc_score(test.labels[rows] == 0, draw[rows, 0]) for draw in arm[k]])
                for arm in (found.alone, found.together)
            )
            assert point.alone.value == pytest.approx(alone, abs=1e-6)
            assert point.together.value == pytest.approx(together, abs=1e-6)
            assert point.gain.value == pytest.approx(together - alone, abs=1e-6)
            assert point.alone.low < point.alone.value < point.alone.high
        first = curve.points[0].as_good_as
        assert first.low is not None
        assert 10 <= first.low <= (first.patients or math.inf)


def test_what_is_the_same_is_worth_as_many_patients_as_it_has() -> None:
    found = few_answers()
    same = replace(found, together=found.alone)
    curve = hospital_curve(same, truth(), SITES[0], CLASSES, SETTINGS, seed=1)
    for point in curve.points:
        assert point.gain.value == 0
        assert point.as_good_as.patients == pytest.approx(point.patients)


def test_what_is_better_than_the_whole_curve_is_beyond_it() -> None:
    found = few_answers()
    sure = np.where(truth().labels == 0, 0.9, 0.1).astype(np.float32)
    best = np.broadcast_to(np.stack([sure, 1 - sure], axis=1), found.together.shape)
    curve = hospital_curve(replace(found, together=best), truth(), SITES[0], CLASSES, SETTINGS, seed=1)
    assert curve.points[0].as_good_as.patients is None
    assert curve.points[0].as_good_as.high is None


def test_the_spread_of_the_draws_is_in_the_intervals() -> None:
    """The same answers in every draw, or draws that differ: the latter are less sure."""
    found = few_answers()
    alike = replace(found, alone=np.repeat(found.alone[:, :1], 3, axis=1))
    rng = np.random.default_rng(3)
    apart = alike.alone.copy()
    apart[:, 1] = rng.permuted(apart[:, 1], axis=1)  # a draw that is guessing
    wide = hospital_curve(replace(found, alone=apart), truth(), "", CLASSES, SETTINGS, seed=1).points[1].alone
    narrow = hospital_curve(alike, truth(), "", CLASSES, SETTINGS, seed=1).points[1].alone
    assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low)


def test_a_place_of_one_class_or_of_few_patients_has_no_curve() -> None:
    south = hospital_curve(few_answers(), truth(), SITES[1], CLASSES, SETTINGS, seed=1)
    assert (south.points, south.reason[:35]) == ((), "every test image is of class 'COVID'"[:35])
    assert hospital_curve(few_answers(), truth(), SITES[3], CLASSES, SETTINGS, seed=1).reason.startswith("fewer than 5")
