"""Brier score, calibration error and calibration curves against scikit-learn and loops over images."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve as sklearn_calibration_curve
from sklearn.metrics import brier_score_loss

from medistill.evaluate.calibration import brier, calibration_curve, calibration_error, class_brier
from medistill.evaluate.curve import CalibrationCurve
from medistill.evaluate.intervals import resamples


def told_and_seen(seed: int, images: int = 400, networks: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (S, N, 4) in float32, labels (N,) and patients (N,) of two images each."""
    numbers = np.random.default_rng(seed)
    labels = numbers.integers(0, 4, images)
    logits = numbers.normal(size=(networks, images, 4)) + 1.5 * (labels[:, None] == np.arange(4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    return probabilities.astype(np.float32), labels, np.arange(images) // 2


def curve(
    probability: np.ndarray, positive: np.ndarray, groups: np.ndarray, smallest_cell: int = 5, replicates: int = 200
) -> CalibrationCurve:
    chunks = list(resamples(int(groups.max()) + 1, replicates, np.random.default_rng(0)))
    return calibration_curve(
        probability,
        positive,
        groups,
        chunks,
        arm="raw",
        class_name="Normal",
        confidence=0.9,
        smallest_cell=smallest_cell,
    )


def test_brier_is_that_of_scikit_learn() -> None:
    probabilities, labels, _ = told_and_seen(0)
    probabilities = probabilities / probabilities.astype(float).sum(axis=2, keepdims=True)
    whole = [brier_score_loss(labels, network, labels=range(4), scale_by_half=False) for network in probabilities]
    assert brier(probabilities, labels).mean() == pytest.approx(np.mean(whole), abs=1e-12)
    for c in range(4):
        each = [brier_score_loss(labels == c, network[:, c]) for network in probabilities]
        assert class_brier(probabilities[:, :, c], labels == c).mean() == pytest.approx(np.mean(each), abs=1e-12)


def test_brier_by_hand() -> None:
    """Probabilities 0.7, 0.2, 0.1 of class 0: 0.3^2 + 0.2^2 + 0.1^2; all on a wrong class: 1 + 1."""
    told = np.array([[[0.7, 0.2, 0.1], [0, 1, 0]]])
    assert brier(told, np.array([0, 2])) == pytest.approx([0.14, 2.0])


def by_bins(told: np.ndarray, seen: np.ndarray, bins: int) -> float:
    """Expected calibration error of one network, image by image."""
    members: dict[int, list[int]] = {}
    for i, probability in enumerate(told.tolist()):
        b = next(b for b in range(bins) if probability <= (b + 1) / bins + 1e-15)
        members.setdefault(b, []).append(i)
    return sum(len(m) / len(told) * abs(told[m].mean() - seen[m].mean()) for m in members.values())


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_is_that_of_a_loop(bins: int) -> None:
    probabilities, labels, _ = told_and_seen(1)
    told = probabilities.astype(float)
    expected = [by_bins(network[:, 2], labels == 2, bins) for network in told]
    assert calibration_error(probabilities[:, :, 2], labels == 2, bins).value == pytest.approx(
        np.mean(expected), abs=1e-9
    )
    right = probabilities.argmax(axis=2) == labels
    top = probabilities.max(axis=2)
    expected = [by_bins(told.max(axis=2)[s], right[s], bins) for s in range(3)]
    assert calibration_error(top, right, bins).value == pytest.approx(np.mean(expected), abs=1e-9)


def test_calibration_error_by_hand() -> None:
    """Five bins: 0 and 0.2, which ends the first, |0.2 - 1|; 0.7 and 0.8, which ends the fourth, |1.5 - 1|; 1, |1 - 1|.
    One bin: |2.7 - 3|."""
    told = np.array([[0.2, 0.0, 1.0, 0.8, 0.7]])
    seen = np.array([True, False, True, False, True])
    assert calibration_error(told, seen, bins=5).value == pytest.approx(1.3 / 5)
    found = calibration_error(told, seen, bins=1)
    assert found.value == pytest.approx(0.3 / 5)
    assert (found.low, found.high) == (None, None)
    assert "no interval" in found.reason


def test_curve_of_one_network_is_that_of_scikit_learn() -> None:
    probabilities, labels, groups = told_and_seen(2, networks=1)
    found = curve(probabilities[:, :, 0], labels == 0, groups)
    observed, predicted = sklearn_calibration_curve(
        labels == 0, probabilities[0, :, 0].astype(float), n_bins=10, strategy="quantile"
    )
    np.testing.assert_allclose(found.predicted, predicted, atol=1e-9)
    np.testing.assert_allclose(found.observed, observed, atol=1e-9)
    assert found.images == (40.0,) * 10
    assert all(
        low <= value <= high and low < high
        for low, value, high in zip(found.low, found.observed, found.high, strict=True)
    )


def test_limits_are_those_of_repeated_images() -> None:
    probabilities, labels, groups = told_and_seen(3)
    told, positive = probabilities[:, :, 1].astype(float), labels == 1
    found = curve(probabilities[:, :, 1], positive, groups)
    pooled = np.sort(told.ravel())
    upper = [pooled[(b + 1) * len(pooled) // 10 - 1] for b in range(10)]
    place = np.array([[next(b for b in range(10) if p <= upper[b]) for p in network] for network in told])
    assert found.images == pytest.approx([np.mean((place == b).sum(axis=1)) for b in range(10)])
    draws = np.concatenate(list(resamples(200, 200, np.random.default_rng(0))), axis=1)
    shares = []
    for draw in draws.T:
        taken = np.repeat(np.arange(400), draw[groups].astype(int))
        seen = np.broadcast_to(positive[taken], (3, len(taken)))
        shares.append([seen[place[:, taken] == b].mean() for b in range(10)])
    np.testing.assert_allclose(found.low, np.quantile(shares, 0.05, axis=0), atol=1e-7)
    np.testing.assert_allclose(found.high, np.quantile(shares, 0.95, axis=0), atol=1e-7)


def test_small_splits_get_fewer_bins_and_small_bins_are_left_out() -> None:
    probabilities, labels, _ = told_and_seen(4, images=60)
    assert len(curve(probabilities[:, :, 0], labels == 0, np.arange(60)).predicted) == 3
    crowded = np.arange(60) % 4
    assert curve(probabilities[:, :, 0], labels == 0, crowded, smallest_cell=5).predicted == ()
    once = np.full((2, 60), 0.25)
    once[:, :3] = 0.9
    found = curve(once, labels == 0, np.arange(60))
    assert found.predicted == pytest.approx((0.25,))
    assert found.images == (57.0,)


def test_a_bin_without_the_class_has_a_binomial_limit() -> None:
    probability = np.concatenate([np.full(40, 0.05), np.full(40, 0.9)])[None]
    positive = np.arange(80) >= 44
    found = curve(probability, positive, np.arange(80))
    assert found.observed == (0.0, 0.9)
    assert found.low[0] == 0.0
    assert found.high[0] == pytest.approx(1 - 0.05 ** (1 / 40))


def test_one_patient_has_a_curve_without_limits() -> None:
    probabilities, labels, _ = told_and_seen(5)
    found = curve(probabilities[:, :, 0], labels == 0, np.zeros(400, int), smallest_cell=1)
    assert len(found.observed) == 10
    assert (found.low, found.high) == ((), ())
