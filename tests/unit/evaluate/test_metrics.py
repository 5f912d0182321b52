"""The metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from medistill.evaluate.metrics import Ranking, auc, macro_auc, roc_curve, youden_threshold


def scores_with_ties(seed: int, count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.random.default_rng(seed)
    positive = numbers.random(count) < 0.3
    positive[:2] = True, False
    return np.round(numbers.normal(size=count) + positive, 1).astype(np.float32), positive


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_that_of_scikit_learn(seed: int) -> None:
    scores, positive = scores_with_ties(seed)
    weights = np.random.default_rng(seed + 100).integers(0, 4, len(scores))
    weights[:2] = 1
    assert auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert auc(scores, positive, weights) == pytest.approx(
        roc_auc_score(positive, scores, sample_weight=weights), abs=1e-12
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=30))
def test_auc_counts_pairs(pairs: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([s for s, _ in pairs], float), np.array([p for _, p in pairs])
    cases, controls = scores[positive], scores[~positive]
    if not len(cases) or not len(controls):
        assert np.isnan(auc(scores, positive))
        return
    wins = (cases[:, None] > controls).mean() + (cases[:, None] == controls).mean() / 2
    assert auc(scores, positive) == pytest.approx(wins, abs=1e-12)


def test_many_weightings_at_once_are_each_alone() -> None:
    scores, positive = scores_with_ties(3, 60)
    groups = np.arange(60) // 3
    counts = np.random.default_rng(0).integers(0, 3, (20, 7)).astype(np.float32)
    together = Ranking.of(scores, positive).auc(counts, groups)
    for r in range(7):
        drawn = np.repeat(np.arange(60), counts[groups, r].astype(int))
        assert together[r] == pytest.approx(roc_auc_score(positive[drawn], scores[drawn]), abs=1e-9)


def test_macro_auc_is_that_of_scikit_learn() -> None:
    numbers = np.random.default_rng(1)
    labels = numbers.integers(0, 4, 100)
    probabilities = numbers.dirichlet(np.ones(4), 100)
    expected = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert macro_auc(probabilities, labels) == pytest.approx(expected, abs=1e-12)


def test_macro_auc_leaves_out_a_class_that_is_not_there() -> None:
    numbers = np.random.default_rng(2)
    labels, probabilities = numbers.integers(0, 2, 40), numbers.dirichlet(np.ones(3), 40)
    expected = np.mean([roc_auc_score(labels == c, probabilities[:, c]) for c in (0, 1)])
    assert macro_auc(probabilities, labels) == pytest.approx(expected, abs=1e-12)
    assert macro_auc(probabilities, np.zeros(40, int)) is None


@pytest.mark.parametrize("seed", range(5))
def test_threshold_maximises_sensitivity_plus_specificity(seed: int) -> None:
    scores, positive = scores_with_ties(seed)
    called = scores >= youden_threshold(scores, positive)
    mine = recall_score(positive, called) + recall_score(positive, called, pos_label=0) - 1
    false, true, _ = sklearn_roc_curve(positive, scores)
    assert mine == pytest.approx(np.max(true - false), abs=1e-12)


def test_threshold_of_constant_scores_calls_everything() -> None:
    assert youden_threshold(np.full(5, 0.25), np.array([True, False, True, False, False])) == 0.25


def test_curve_passes_through_the_points_of_scikit_learn() -> None:
    scores, positive = scores_with_ties(7)
    false, true, _ = sklearn_roc_curve(positive, scores, drop_intermediate=False)
    highest = {x: max(true[false == x]) for x in np.unique(false)}
    mine = roc_curve(scores, positive, np.array(list(highest)))
    assert mine == pytest.approx(list(highest.values()), abs=1e-12)
