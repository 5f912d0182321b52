"""Moments of classes, against numpy's covariance, and what too few patients may not make."""

from __future__ import annotations

import numpy as np
import pytest

from medistill.errors import DataError
from medistill.methods.rendering.moments import moments

D, N = 6, 40
RNG = np.random.default_rng(0)
SCALES = np.array([3.0, 2.0, 1.5, 1.0, 0.7, 0.5])
FEATURES = np.concatenate([RNG.standard_normal((N, D)) * SCALES, RNG.standard_normal((N, D)) * SCALES[::-1] + 2])
SPREAD = np.array([1.0, 1, 2, 2, 0.5, 0.5])
ROWS = {"one": np.arange(N), "two": np.arange(N, 2 * N)}
EACH = np.arange(2 * N)
"""Every image is of another patient."""


def _moments(groups=EACH, count=2, covariance="class", least=5, features=FEATURES):
    return moments(features, SPREAD, ROWS, groups, count, covariance=covariance, least=least)


@pytest.mark.parametrize("count", [4, 5, 12, 13])
def test_points_have_the_mean_and_the_main_part_of_the_covariance(count: int) -> None:
    for of_class, rows in zip(_moments(count=count // 2), ROWS.values(), strict=True):
        own = FEATURES[rows] / SPREAD
        values, vectors = np.linalg.eigh(np.cov(own.T, bias=True))
        main = sum(values[-j] * np.outer(vectors[:, -j], vectors[:, -j]) for j in range(1, count // 2 + 1))
        points = of_class.points(count, 1.0)
        assert points.shape == (count, D)
        assert np.abs(points.mean(axis=0) - own.mean(axis=0)).max() < 1e-12
        assert np.abs(np.cov(points.T, bias=True) - main).max() < 1e-12
        half = of_class.points(count, 0.5)
        assert np.abs(np.cov(half.T, bias=True) - main / 4).max() < 1e-12


def test_one_image_of_a_class_is_its_mean() -> None:
    points = _moments(count=0)[1].points(1, 1.0)
    assert np.abs(points[0] - (FEATURES[N:] / SPREAD).mean(axis=0)).max() < 1e-12


def test_pooled_directions_are_those_about_the_classes_own_means() -> None:
    found = _moments(covariance="pooled", count=3)
    centred = np.concatenate([(FEATURES[rows] - FEATURES[rows].mean(axis=0)) / SPREAD for rows in ROWS.values()])
    values = np.linalg.eigvalsh(centred.T @ centred / len(centred))[::-1]
    for of_class in found:
        assert np.abs(of_class.deviations**2 - values[:3]).max() < 1e-12
        assert np.array_equal(of_class.directions, found[0].directions)


def test_a_direction_that_one_patient_makes_is_passed_over() -> None:
    features = FEATURES.copy()
    features[3] += 100 * np.array([0, 0, 0, 1, 0, 0])
    plain, guarded = _moments(features=features, least=1)[0], _moments(features=features, least=5)[0]
    assert abs(plain.directions[0, 3]) > 0.99
    assert (np.abs(guarded.directions[:, 3]) < 0.5).all()
    assert np.array_equal(guarded.directions[0], plain.directions[1])


def test_a_class_of_too_few_patients_or_directions_is_refused_by_name() -> None:
    few = np.where(EACH < N, EACH % 4, EACH)
    with pytest.raises(DataError, match=r"class one has 4 training patients.*5 patients or more.*method\.min_patients"):
        _moments(groups=few)
    with pytest.raises(DataError, match=r"class one has 6 directions for 7"):
        _moments(count=7, least=1)


def test_images_that_are_alike_have_no_direction() -> None:
    with pytest.raises(DataError, match="0 directions for 1"):
        _moments(count=1, features=np.ones_like(FEATURES))
