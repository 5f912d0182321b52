"""Thresholds for a wanted specificity against a search over all of them; measures that do not exist."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.evaluate.metrics import specificity_threshold
from medistill.evaluate.operating_point import MEASURES, Calls, Thresholds


@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=40).filter(
        lambda images: not all(case for _, case in images)
    ),
    st.sampled_from([0.5, 0.8, 0.9, 0.95]),
)
def test_threshold_is_the_lowest_that_spares_enough_controls(images: list[tuple[int, bool]], target: float) -> None:
    scores = np.array([score for score, _ in images], float)
    positive = np.array([case for _, case in images])
    chosen = specificity_threshold(scores, positive, target)
    levels = np.unique(scores)
    tried = [levels[0], *((levels[1:] + levels[:-1]) / 2), np.nextafter(levels[-1], np.inf)]
    enough = [t for t in tried if np.mean(scores[~positive] < t) >= target - 1e-12]
    assert chosen == min(enough)


def test_measures_are_means_over_the_networks() -> None:
    scores = np.array([[0.9, 0.8, 0.3, 0.1], [0.2, 0.6, 0.7, 0.1]])[:, :, None]
    cases = np.array([[True, True, False, False]])
    calls = Calls(Thresholds("youden", None, ((0.5, 0.5),)), scores, cases, np.arange(4))
    counts = np.ones((4, 1), np.float32)
    told = dict(
        zip(MEASURES, calls.measures(counts, np.array([[2.0]]), np.array([[2.0]]))[:, 0, 0].tolist(), strict=True)
    )
    assert told == pytest.approx(
        {"sensitivity": 0.75, "specificity": 0.75, "ppv": 0.75, "npv": 0.75, "f1": 0.75, "balanced_accuracy": 0.75}
    )
    assert calls.patients_called.tolist() == [2]


def test_patients_called_and_spared_are_those_of_the_network_with_the_fewest() -> None:
    """Patient 0 has two images, one of them called by neither network."""
    scores = np.array([[0.1, 0.9, 0.9, 0.9, 0.9, 0.1], [0.1, 0.9, 0.9, 0.9, 0.1, 0.1]])[:, :, None]
    groups, cases = np.array([0, 0, 1, 2, 3, 4]), np.array([[True, True, True, False, False, False]])
    calls = Calls(Thresholds("youden", None, ((0.5, 0.5),)), scores, cases, groups)
    assert (calls.patients_called.tolist(), calls.patients_spared.tolist()) == ([3], [2])


def test_a_network_that_calls_nothing_has_no_predictive_value() -> None:
    scores = np.array([[0.1, 0.2], [0.9, 0.2]])[:, :, None]
    cases = np.array([[True, False]])
    calls = Calls(Thresholds("specificity", 0.9, ((0.5, 0.5),)), scores, cases, np.arange(2))
    told = dict(
        zip(
            MEASURES,
            calls.measures(np.ones((2, 1), np.float32), np.ones((1, 1)), np.ones((1, 1)))[:, 0, 0].tolist(),
            strict=True,
        )
    )
    assert np.isnan(told["ppv"])
    assert told["sensitivity"] == 0.5
    assert told["f1"] == 0.5
