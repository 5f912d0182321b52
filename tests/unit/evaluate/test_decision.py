"""Decision curves against a loop over images, an example worked by hand, and images that are really repeated."""

from __future__ import annotations

import numpy as np
import pytest

from medistill.evaluate.curve import DecisionCurve
from medistill.evaluate.decision import THRESHOLDS, decision_curve
from medistill.evaluate.intervals import resamples
from tests.unit.evaluate.test_delong import patients_with_both


def curve(
    probability: np.ndarray, positive: np.ndarray, groups: np.ndarray, thresholds: np.ndarray = THRESHOLDS
) -> DecisionCurve:
    chunks = list(resamples(int(groups.max()) + 1, 150, np.random.default_rng(0)))
    return decision_curve(
        probability,
        positive,
        groups,
        chunks,
        arm="raw",
        class_name="Normal",
        confidence=0.9,
        thresholds=thresholds,
    )


def one_by_one(probability: np.ndarray, positive: np.ndarray, threshold: float) -> float:
    """Net benefit of one network, image by image."""
    worth = 0.0
    for told, case in zip(probability.tolist(), positive.tolist(), strict=True):
        if told >= threshold:
            worth += 1 if case else -threshold / (1 - threshold)
    return worth / len(probability)


def test_curve_and_limits_are_those_of_a_loop() -> None:
    scores, positive, groups = patients_with_both(0, patients=40, networks=3)
    told = (1 / (1 + np.exp(-scores))).astype(np.float32)
    thresholds = np.array([0.05, 0.2, 0.5, 0.75])
    found = curve(told, positive, groups, thresholds)
    expected = [np.mean([one_by_one(network, positive, t) for network in told]) for t in thresholds]
    assert found.net_benefit == pytest.approx(expected, abs=1e-12)
    assert found.threshold == tuple(thresholds)
    draws = np.concatenate(list(resamples(40, 150, np.random.default_rng(0))), axis=1)
    benefits = []
    for draw in draws.T:
        taken = np.repeat(np.arange(len(groups)), draw[groups].astype(int))
        benefits.append([np.mean([one_by_one(n[taken], positive[taken], t) for n in told]) for t in thresholds])
    np.testing.assert_allclose(found.low, np.quantile(benefits, 0.05, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.high, np.quantile(benefits, 0.95, axis=0), atol=1e-6)


def test_example_by_hand() -> None:
    """Ten images, four cases. At 0.2 one acts on all four and on two others: 4/10 - 2/10 * 0.2/0.8 = 0.35. At 0.5 on
    two cases and one other: 2/10 - 1/10 = 0.1. Acting on all: 4/10 - 6/10 * 0.25 = 0.25 and 4/10 - 6/10 = -0.2."""
    told = np.array([[0.9, 0.5, 0.3, 0.2, 0.6, 0.25, 0.1, 0.1, 0.0, 0.19]])
    found = curve(told, np.arange(10) < 4, np.arange(10), np.array([0.2, 0.5]))
    assert found.net_benefit == pytest.approx((0.35, 0.1))
    assert found.treat_all == pytest.approx((0.25, -0.2))


def test_acting_on_all_is_reached_by_those_who_are_told_of_all() -> None:
    positive = np.random.default_rng(0).random(50) < 0.3
    found = curve(np.ones((2, 50)), positive, np.arange(50))
    assert found.net_benefit == pytest.approx(found.treat_all)
    assert found.treat_all[0] > 0 > found.treat_all[-1]
    idle = curve(np.zeros((2, 50)), positive, np.arange(50))
    assert idle.net_benefit == idle.low == idle.high == (0.0,) * len(THRESHOLDS)


def test_one_patient_and_an_absent_class() -> None:
    told = np.random.default_rng(0).random((2, 30))
    one = curve(told, np.arange(30) < 9, np.zeros(30, int))
    assert len(one.net_benefit) == len(THRESHOLDS)
    assert (one.low, one.high) == ((), ())
    absent = curve(told, np.zeros(30, bool), np.arange(30))
    assert max(absent.net_benefit) <= 0
    assert len(absent.low) == len(THRESHOLDS)
