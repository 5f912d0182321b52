"""Areas of pairs that are compared once, against every pair of every network counted in plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from medistill.evaluate import arm
from medistill.evaluate.arm import PreparedArm
from medistill.evaluate.metrics import Ranking
from medistill.evaluate.pairs import Pairs
from medistill.evaluate.predictions import ArmPredictions, Truth


def drawn(seed: int, networks: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores (S, N) with ties, cases (N,), patients (N,) with several images or one, and weights (G, R)."""
    rng = np.random.default_rng(seed)
    positive = rng.random(40) < 0.2
    positive[:2] = True, False
    groups = np.unique(rng.integers(0, 25, 40), return_inverse=True)[1] if seed % 2 else rng.permutation(40)
    scores = np.round(rng.normal(size=(networks, 40)) + positive, 1).astype(np.float32)
    counts = rng.integers(0, 4, (groups.max() + 1, 6)).astype(np.float32)
    counts[groups[positive], 5] = 0
    return scores, positive, groups, counts


def counted(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
    """The weighted share of pairs in which the case has the higher score, ties counting half; NaN without a pair."""
    won = whole = 0.0
    for i in np.flatnonzero(positive):
        for j in np.flatnonzero(~positive):
            pair = float(weights[i] * weights[j])
            whole += pair
            won += pair * (float(scores[i] > scores[j]) + float(scores[i] == scores[j]) / 2)
    return won / whole if whole else float("nan")


@pytest.mark.parametrize("seed", range(6))
def test_areas_are_those_of_pairs_counted_one_by_one(seed: int) -> None:
    scores, positive, groups, counts = drawn(seed)
    pairs = Pairs.of(scores, positive, groups)
    expected = [np.mean([counted(one, positive, column[groups]) for one in scores]) for column in counts.T]
    np.testing.assert_allclose(pairs.auc(counts), expected, rtol=1e-12)
    assert np.isnan(expected[5])
    ones = np.ones(len(positive))
    np.testing.assert_allclose(pairs.network_auc, [counted(one, positive, ones) for one in scores], rtol=1e-12)


def test_sums_are_exact_where_a_byte_would_overflow() -> None:
    """A patient with many controls, and many networks: more wins than a byte holds."""
    rng = np.random.default_rng(0)
    positive, groups = np.arange(400) < 3, np.maximum(np.arange(400) - 2, 0) // 200
    scores = rng.normal(size=(9, 400)).astype(np.float32) + 3 * positive
    pairs, counts = Pairs.of(scores, positive, groups), rng.integers(1, 5, (2, 4)).astype(np.float32)
    sorted_areas = [Ranking.of(one, positive).auc(counts, groups) for one in scores]
    np.testing.assert_allclose(pairs.auc(counts), np.mean(sorted_areas, axis=0), rtol=1e-12)


def test_an_arm_has_the_same_areas_whichever_way_they_are_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    labels, groups = np.arange(60) % 5, np.arange(60) // 2
    said = [rng.dirichlet(np.ones(5), (3, 60)).astype(np.float32) for _ in range(2)]
    predictions = ArmPredictions("raw", *said, images=1, bytes=1, epochs=1, seconds=1.0)
    truth, names = Truth(labels, groups, {}), [f"c{c}" for c in range(5)]
    counts = rng.integers(0, 3, (30, 8)).astype(np.float32)

    def areas() -> tuple[np.ndarray, tuple[float, ...]]:
        ready = PreparedArm(predictions, truth, truth, names, 0.9)
        return ready.statistics(counts).auc, ready.network_macro_auc()

    by_pairs = areas()
    monkeypatch.setattr(arm, "FEW", 0)
    monkeypatch.setattr(Pairs, "of", None)
    by_sorting = areas()
    np.testing.assert_allclose(by_pairs[0], by_sorting[0], rtol=1e-12)
    np.testing.assert_allclose(by_pairs[1], by_sorting[1], rtol=1e-12)
