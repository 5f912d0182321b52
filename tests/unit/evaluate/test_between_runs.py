"""The paired difference between two runs against plain loops with scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from medistill.errors import DataError
from medistill.evaluate.between_runs import paired_difference, same_truth
from medistill.evaluate.intervals import resamples
from medistill.evaluate.predictions import ArmPredictions, Truth

NAMES = ("a", "b", "c")


def truth(patients: int = 24) -> Truth:
    groups = np.repeat(np.arange(patients) * 3 + 1, 2)
    return Truth((np.arange(patients) % 3).repeat(2), groups, {})


def arm(test: Truth, seed: int, skill: float, networks: int = 2) -> ArmPredictions:
    numbers = np.random.default_rng(seed)
    raised = np.exp(numbers.normal(size=(networks, len(test.labels), 3)) + skill * np.eye(3)[test.labels])
    scores = (raised / raised.sum(axis=2, keepdims=True)).astype(np.float32)
    return ArmPredictions("distilled", scores[:, :4], scores, 30, 30, 1, 1.0)


def naive(predictions: ArmPredictions, test: Truth, rows: np.ndarray) -> tuple[float, float]:
    labels = test.labels[rows]
    areas, shares = [], []
    for scores in predictions.test:
        chosen = scores[rows]
        areas.append(np.mean([roc_auc_score(labels == c, chosen[:, c]) for c in range(3)]))
        shares.append(accuracy_score(labels, chosen.argmax(axis=1)))
    return float(np.mean(areas)), float(np.mean(shares))


def test_difference_and_interval_are_those_of_plain_loops() -> None:
    test = truth()
    mine, other = arm(test, 1, 1.5), arm(test, 2, 1.0, networks=1)
    found = paired_difference(mine, other, test, NAMES, replicates=30, confidence=0.9, seed=4)
    patients = np.unique(test.groups)
    drawn = []
    for counts in resamples(len(patients), 30, np.random.default_rng(4)):
        for column in counts.T.astype(int):
            rows = np.concatenate(
                [
                    np.flatnonzero(test.groups == who)
                    for who, times in zip(patients, column, strict=True)
                    for _ in range(times)
                ]
            )
            drawn.append(np.subtract(naive(mine, test, rows), naive(other, test, rows)))
    once = np.subtract(*(naive(one, test, np.arange(len(test.labels))) for one in (mine, other)))
    limits = np.quantile(drawn, [0.05, 0.95], axis=0)
    for k, estimate in enumerate(found):
        assert estimate.value == pytest.approx(once[k], abs=1e-6)
        assert (estimate.low, estimate.high) == pytest.approx(tuple(limits[:, k]), abs=1e-6)


def test_a_run_against_itself_differs_by_nothing() -> None:
    test = truth()
    for estimate in paired_difference(
        arm(test, 1, 1), arm(test, 1, 1), test, NAMES, replicates=100, confidence=0.9, seed=0
    ):
        assert estimate.value == 0
        assert estimate.reason


def test_a_class_that_is_absent_does_not_count_and_a_class_alone_is_named() -> None:
    test = truth()
    rows = test.labels != 2
    less = Truth(test.labels[rows], test.groups[rows], {})
    mine, other = arm(less, 1, 1), arm(less, 2, 1)
    macro_auc, _ = paired_difference(mine, other, less, NAMES, replicates=100, confidence=0.9, seed=0)
    areas = [
        np.mean([roc_auc_score(less.labels == c, scores[:, c]) for scores in of.test for c in (0, 1)])
        for of in (mine, other)
    ]
    assert macro_auc.value == pytest.approx(areas[0] - areas[1], abs=1e-6)
    alone = Truth(np.zeros_like(less.labels), less.groups, {})
    macro_auc, accuracy = paired_difference(mine, other, alone, NAMES, replicates=100, confidence=0.9, seed=0)
    assert macro_auc.value is None
    assert "'a'" in macro_auc.reason
    assert accuracy.value is not None


def test_predictions_of_other_images_are_refused() -> None:
    test = truth()
    with pytest.raises(DataError, match="probabilities"):
        paired_difference(arm(test, 1, 1), arm(truth(23), 1, 1), test, NAMES, replicates=100, confidence=0.9, seed=0)


def test_truth_is_the_same_image_by_image() -> None:
    test = truth()
    assert same_truth(test, truth())
    assert not same_truth(test, truth(23))
    assert not same_truth(test, replace(test, labels=test.labels[::-1].copy()))
    assert not same_truth(test, replace(test, groups=test.groups + 1))
