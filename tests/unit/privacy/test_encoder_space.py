"""The encoder's space: its whitening is that of Ledoit and Wolf, and the attacks in it find whom theory says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.covariance import ledoit_wolf

from medistill.privacy.attacks.distance_in_features import (
    DistanceInFeatures,
    InFeatures,
    PartlyWhitenedDistance,
    WhitenedDistance,
)
from tests.factories.in_features import signals_of, space_of

PLAIN, WHITE, PARTLY = DistanceInFeatures(), WhitenedDistance(), PartlyWhitenedDistance()


def areas(attack: InFeatures, signals: Any) -> tuple[float, float]:
    distilled, random = (one.cells[0].auc.value for one in attack.run(signals).membership)
    assert distilled is not None
    assert random is not None
    return distilled, random


@pytest.mark.parametrize(("people", "size"), [(40, 60), (300, 20)])
def test_distances_are_mahalanobis_distances_under_scikit_learns_covariance(people: int, size: int) -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(people, size)) * rng.uniform(0.1, 4, size), np.arange(people) % 3
    rows = np.flatnonzero(rng.random(people) < 0.8)
    within = features[rows].copy()
    for label in range(3):
        within[labels[rows] == label] -= within[labels[rows] == label].mean(axis=0)
    covariance, share = ledoit_wolf(within, assume_centered=True)
    assert share > 1e-3
    matrix = space_of(features, labels, rows).whitening(rows)
    assert matrix is not None
    off = features[0] - features[1]
    expected = off @ np.linalg.solve(covariance, off)
    assert float((torch.from_numpy(off).float() @ matrix).square().sum()) == pytest.approx(expected, rel=1e-3)


def test_what_rendering_left_hides_members_from_the_whitened_distance_and_not_from_the_partly_whitened() -> None:
    """Off their means as far in every direction, as images are whose features an optimiser could not reach."""
    size, cells, dimension = 5, 60, 100
    features = turned(2 * size * cells, np.repeat([30, 8, 0.2], [3, 40, 57]), 4)
    members = np.arange(len(features)) < size * cells
    images = features[members].reshape(cells, size, dimension).mean(axis=1)
    images += np.random.default_rng(8).normal(size=images.shape)
    signals = signals_of(features, members, np.arange(len(features)), images, np.arange(cells))
    assert areas(WHITE, signals)[0] + 0.03 < areas(PARTLY, signals)[0]


def test_directions_are_of_length_1_and_without_the_mean_of_the_training_images() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(3000, 5)) + 7
    train = np.flatnonzero(rng.random(3000) < 0.7)
    told = space_of(features, np.zeros(3000, int), train).directions(torch.from_numpy(features[:4]).float()).numpy()
    centred = features[:4] - features[train].mean(axis=0)
    assert told == pytest.approx(centred / np.linalg.norm(centred, axis=1, keepdims=True), abs=1e-5)


def skewed(count: int, dimension: int, seed: int) -> np.ndarray:
    """Features most of whose variance lies in few directions, as an encoder's does."""
    return turned(count, np.where(np.arange(dimension) < 3, 30.0, 1.0), seed)


def turned(count: int, deviations: np.ndarray, seed: int) -> np.ndarray:
    """Normal numbers with deviations of their own, turned at random."""
    size = len(deviations)
    turn = np.linalg.qr(np.random.default_rng(99).normal(size=(size, size)))[0]
    return np.asarray((np.random.default_rng(seed).normal(size=(count, size)) * deviations) @ turn)


def test_whitened_it_finds_the_members_of_means_as_far_as_theory_says_and_strangers_never() -> None:
    """Means of n = 10, D = 100: sqrt(2 D) / n deviations apart; of the plain distance 3 directions of 100 decide."""
    size, cells, dimension = 10, 60, 100
    features = skewed(3 * size * cells, dimension, 4)
    members = np.arange(len(features)) < size * cells
    of_members = features[members].reshape(cells, size, dimension).mean(axis=1)
    of_nobody = features[2 * size * cells :].reshape(cells, size, dimension).mean(axis=1)
    asked, groups = features[: 2 * size * cells], np.arange(2 * size * cells)
    leaking, clean = (
        signals_of(asked, members[: len(asked)], groups, images, np.arange(cells)) for images in (of_members, of_nobody)
    )
    whitened, control = areas(WHITE, leaking)
    plain, _ = areas(PLAIN, leaking)
    assert control == 1
    assert plain < 0.72 < whitened
    assert plain < areas(PARTLY, leaking)[0] < whitened
    assert whitened <= norm.cdf(np.sqrt(dimension) / size) + 0.05
    for attack in (PLAIN, WHITE, PARTLY):
        assert areas(attack, clean)[0] == pytest.approx(0.5, abs=0.05)


def test_it_is_the_patient_who_is_asked_about() -> None:
    """A patient's twelve images are one patient, and all in one half."""
    features = np.repeat(skewed(120, 30, 5), 12, axis=0) + np.random.default_rng(6).normal(size=(1440, 30))
    members, groups = np.arange(1440) < 720, np.arange(1440) // 12
    signals = signals_of(features, members, groups, features[:720].reshape(12, 60, 30).mean(axis=1), np.arange(12))
    for attack in (PLAIN, WHITE):
        cell = attack.run(signals).membership[0].cells[0]
        assert (cell.members, cell.non_members) == (60, 60)
    halves = WHITE.measures(signals)
    first, second = (groups[half.asked] for half in halves)
    assert not set(first) & set(second)
    assert len(set(first)) == len(set(second)) == 60


def test_what_cannot_be_told_says_why() -> None:
    features, groups = np.ones((60, 4)), np.arange(60)
    alike = signals_of(features, groups < 30, groups, features[:3], np.arange(3))
    assert {one.reason for one in WHITE.run(alike).membership} == {
        "the encoder sees no difference among the images of a class"
    }
    alone = signals_of(np.random.default_rng(7).normal(size=(60, 4)), groups < 30, groups, features[:1], np.arange(1))
    assert all("the set is one image" in one.reason for one in PLAIN.run(alone).membership)
