"""The guard for home against a jackknife by hand, and what it lets pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medistill.evaluate.home_guard import HomeGuard, balanced_mean, guarded, standard_error


def by_hand(losses: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> float:
    """Leave out each patient in turn and take the mean anew."""
    found = []
    for patient in sorted(set(patients)):
        kept = patients != patient
        found.append(np.mean([np.mean(losses[kept & (labels == c)]) for c in sorted(set(labels))]))
    return math.sqrt((len(found) - 1) / len(found) * sum((one - np.mean(found)) ** 2 for one in found))


def test_the_standard_error_is_the_jackknife_over_patients() -> None:
    rng = np.random.default_rng(0)
    labels, patients = rng.integers(0, 3, 40), rng.integers(0, 15, 40)  # some patients have images of several classes
    losses = rng.gamma(2, size=40)
    assert standard_error(losses, labels, patients) == pytest.approx(by_hand(losses, labels, patients), rel=1e-12)
    one = np.zeros(30, np.int64)
    assert standard_error(losses[:30], one, np.arange(30)) == pytest.approx(stats.sem(losses[:30]), rel=1e-12)
    assert standard_error(losses[:4], np.array([0, 0, 0, 1]), np.arange(4)) == math.inf


def test_it_holds_the_mean_of_a_class_that_is_rare_and_of_patients_with_many_images() -> None:
    """Against what the means of new patients scatter by: two classes, patients with one to six images each."""
    rng = np.random.default_rng(1)

    def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        images = rng.integers(1, 7, 24)
        own, labels = rng.normal(size=24), np.repeat([0, 1], [18, 6])
        return np.repeat(own, images), np.repeat(labels, images), np.repeat(np.arange(24), images)

    made = [drawn() for _ in range(600)]
    scatter = np.std([balanced_mean(losses, labels) for losses, labels, _ in made])
    told = np.sqrt(np.mean([standard_error(*one) ** 2 for one in made]))
    assert told == pytest.approx(scatter, rel=0.15)
    alone = np.sqrt(np.mean([standard_error(loss, label, np.arange(len(loss))) ** 2 for loss, label, _ in made]))
    assert alone < 0.7 * scatter  # images of one patient are no patients


def losses_around(means: list[float], spread: float, each: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    own = rng.normal(size=2 * each)  # of a patient, whatever the weight
    noise = rng.normal(size=(len(means), 2 * each)) * spread
    return np.array(means)[:, None] + own + noise, np.arange(2 * each) % 2, np.arange(2 * each)


def test_the_least_weight_is_taken_that_is_not_shown_to_be_worse() -> None:
    weights = (0.0, 0.1, 1.0, 10.0)
    clear, labels, patients = losses_around([1.0, 0.5, 0.2, 0.6], 0.01)
    taken, seen = guarded(clear, weights, labels, patients)
    assert (weights[taken], seen.best) == (1.0, 1.0)
    assert seen.gain == pytest.approx(0.8, abs=0.02)
    assert seen.error == pytest.approx(by_hand(clear[0] - clear[2], labels, patients))
    dim, *_ = losses_around([1.0, 0.99, 0.98, 1.2], 0.3)
    taken, seen = guarded(dim, weights, labels, patients)
    assert weights[taken] == 0
    between, *_ = losses_around([1.0, 0.201, 0.2, 0.6], 0.02)
    taken, seen = guarded(between, weights, labels, patients)
    assert (weights[taken], seen.best) in {(0.1, 0.1), (0.1, 1.0)}


def test_where_nothing_can_be_told_nothing_is_taken_and_what_diverged_never() -> None:
    weights = (0.0, 1.0)
    losses, labels, patients = losses_around([1.0, 0.1], 0.01)
    few = np.array([0, 1, 2])  # of classes 0, 1, 0
    assert guarded(losses[:, few], weights, labels[few], patients[few]) == (
        0,
        HomeGuard(0.0, 1.0, pytest.approx(0.9, abs=0.02), None),
    )
    losses[0] = np.nan
    assert guarded(losses, weights, labels, patients) == (1, HomeGuard(1.0, 1.0, None, None))
    losses[0], losses[1] = losses[1], np.nan
    assert guarded(losses, weights, labels, patients) == (0, HomeGuard(0.0, 0.0, 0.0, 0.0))
