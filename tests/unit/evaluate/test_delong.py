"""DeLong's variance against pairs counted one by one, another library, an example worked by hand and the bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.evaluate.delong import Components
from medistill.evaluate.intervals import number_groups, resamples
from medistill.evaluate.metrics import Ranking


def patients_with_both(seed: int, patients: int = 40, networks: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (networks, N) with ties, cases (N,) and patients (N,) of 1 to 4 images; a patient's images are alike."""
    numbers = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), numbers.integers(1, 5, patients))
    positive = numbers.random(len(groups)) < 0.4
    own = numbers.normal(size=patients)[groups]
    noise = numbers.normal(size=(networks, len(groups)))
    return np.round(own + noise + positive, 1), positive, groups


def by_pairs(scores: np.ndarray, positive: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """The area and Obuchowski's variance, every pair and every patient in a loop, straight from the paper."""
    cases, controls = np.flatnonzero(positive), np.flatnonzero(~positive)
    v10, v01, area = dict.fromkeys(cases, 0.0), dict.fromkeys(controls, 0.0), 0.0
    for i in cases:
        for j in controls:
            psi = 1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0
            v10[i] += psi / len(controls)
            v01[j] += psi / len(cases)
            area += psi / (len(cases) * len(controls))
    case_part = control_part = both = 0.0
    with_case = with_control = 0
    everyone = sorted(set(groups.tolist()))
    for patient in everyone:
        mine = [v10[i] - area for i in cases if groups[i] == patient]
        others = [v01[j] - area for j in controls if groups[j] == patient]
        with_case, with_control = with_case + bool(mine), with_control + bool(others)
        case_part += sum(mine) ** 2
        control_part += sum(others) ** 2
        both += sum(mine) * sum(others)
    p, q, n = len(cases), len(controls), len(everyone)
    s10 = with_case / ((with_case - 1) * p) * case_part
    s01 = with_control / ((with_control - 1) * q) * control_part
    s11 = n / (n - 1) * both
    return area, s10 / p + s01 / q + 2 * s11 / (p * q)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans(), st.integers(0, 6)), min_size=6, max_size=30))
def test_clustered_variance_is_that_of_counted_pairs(images: list[tuple[int, bool, int]]) -> None:
    scores, positive = np.array([s for s, _, _ in images], float), np.array([p for _, p, _ in images])
    groups, _ = number_groups(np.array([g for _, _, g in images]))
    if len(set(groups[positive])) < 2 or len(set(groups[~positive])) < 2:
        assert Components.of(scores, positive, groups).estimate(0.95).low is None
        return
    area, variance = by_pairs(scores, positive, groups)
    found = Components.of(scores, positive, groups)
    assert found.auc == pytest.approx(area, abs=1e-12)
    assert found.variance() == pytest.approx(variance, abs=1e-12)


def test_one_image_a_patient_is_delong_of_mlstatkit() -> None:
    """Figures of MLstatkit 0.1.91 (PyPI; MLstatkit.delong.Delong_test): both areas, the variance of their difference
    and the plain interval of each area, from which its variance follows."""
    positive = np.array([int(c) for c in "0001101000111000000011011000000111011101"], bool)
    a = [-0.1, 0.1, 0.1, 0.0, 1.3, 1.4, -0.3, 0.9, 0.1, -0.6, 3.2, 2.0, 0.0, 0.1, 0.6, -0.2, 0.7, -0.1, 0.7, 1.4]
    a += [0.5, 1.4, -0.5, 1.3, 0.0, -0.6, -0.2, 0.9, 1.1, -1.3, -0.8, 1.8, -0.8, 0.7, -0.1, 2.5, 1.9, 0.9, -0.4, 0.9]
    b = [1.5, -0.4, -0.3, 0.4, 0.5, 0.5, -1.3, 0.4, -0.4, 0.9, 2.3, 1.0, 0.7, -0.3, 1.4, -0.1, 0.9, -1.3, 0.7, -1.0]
    b += [-1.8, 0.4, -1.1, 0.8, 2.2, -1.1, -0.7, 0.7, 1.0, -0.8, -0.6, 1.6, 0.1, -0.7, -0.1, 1.3, -0.1, 0.7, -1.1, 1.4]
    one, other = (Components.of(np.array(scores), positive, np.arange(40)) for scores in (a, b))
    z = 1.959963984540054
    assert one.auc == pytest.approx(0.7404092071611255, abs=1e-12)
    assert other.auc == pytest.approx(0.6713554987212276, abs=1e-12)
    assert math.sqrt(one.variance()) * 2 * z == pytest.approx(0.9025091682536581 - 0.5783092460685928, abs=1e-12)
    assert math.sqrt(other.variance()) * 2 * z == pytest.approx(0.8509447436373913 - 0.4917662538050639, abs=1e-12)
    difference = one.minus(other)
    assert difference.variance() == pytest.approx(0.009220741206321494, abs=1e-15)
    interval = difference.estimate(0.95)
    reach = z * math.sqrt(0.009220741206321494)
    assert (interval.low, interval.high) == (
        pytest.approx(difference.auc - reach),
        pytest.approx(difference.auc + reach),
    )


def test_example_by_hand() -> None:
    """Cases 3, 2 and controls 1, 2.5: V10 = 1, 1/2; V01 = 1, 1/2; AUC = 3/4; S10 = S01 = 1/8; variance 1/16 + 1/16."""
    found = Components.of(np.array([3, 2, 1, 2.5]), np.array([True, True, False, False]), np.arange(4))
    assert found.cases.tolist() == [1.0, 0.5]
    assert found.controls.tolist() == [1.0, 0.5]
    assert found.variance() == pytest.approx(1 / 8)
    reach = 1.959963984540054 * math.sqrt(1 / 8) / (3 / 16)
    logit = math.log(3)
    interval = found.estimate(0.95)
    assert interval.low == pytest.approx(1 / (1 + math.exp(reach - logit)))
    assert interval.high == pytest.approx(1 / (1 + math.exp(-reach - logit)))


def test_copies_of_an_image_add_nothing() -> None:
    scores, positive, _ = patients_with_both(3)
    once = Components.of(scores[0], positive, np.arange(len(positive)))
    thrice = Components.of(np.tile(scores[0], 3), np.tile(positive, 3), np.tile(np.arange(len(positive)), 3))
    assert thrice.variance() == pytest.approx(once.variance(), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_standard_errors_are_those_of_the_patient_bootstrap(seed: int) -> None:
    scores, positive, groups = patients_with_both(seed, patients=300, networks=4)
    parts = [Components.of(network, positive, groups) for network in scores]
    rankings = [Ranking.of(network, positive) for network in scores]
    chunks = resamples(300, 4000, np.random.default_rng(seed))
    drawn = np.concatenate([[ranking.auc(chunk, groups) for ranking in rankings] for chunk in chunks], axis=1)
    mean, difference = Components.mean(parts[:2]), Components.mean(parts[:2]).minus(Components.mean(parts[2:]))
    assert math.sqrt(mean.variance()) == pytest.approx(drawn[:2].mean(axis=0).std(), rel=0.05)
    assert math.sqrt(difference.variance()) == pytest.approx(
        (drawn[:2].mean(axis=0) - drawn[2:].mean(axis=0)).std(), rel=0.05
    )


@pytest.mark.parametrize(
    ("scores", "cases", "groups", "value", "reason"),
    [
        ([1, 2, 3], [0, 0, 0], [0, 1, 2], None, "there is no image of the class"),
        ([1, 2, 3], [1, 1, 1], [0, 1, 2], None, "every image is of the class"),
        ([1, 2, 3, 1], [1, 1, 0, 0], [0, 0, 1, 2], 0.375, "2 patients with an image of the class"),
        ([1, 2, 3, 1], [1, 1, 0, 0], [0, 1, 2, 2], 0.375, "2 patients with any other image"),
        ([4, 3, 2, 1], [1, 1, 0, 0], [0, 1, 2, 3], 1.0, "scores above every other image"),
        ([1, 2, 3, 4], [1, 1, 0, 0], [0, 1, 2, 3], 0.0, "scores below every other image"),
        ([5, 5, 5, 5], [1, 1, 0, 0], [0, 1, 2, 3], 0.5, "every image adds the same"),
    ],
)
def test_what_cannot_be_estimated_says_why(
    scores: list[int], cases: list[int], groups: list[int], value: float | None, reason: str
) -> None:
    found = Components.of(np.array(scores, float), np.array(cases, bool), np.array(groups)).estimate(0.95)
    assert (found.low, found.high) == (None, None)
    assert found.value == (value if value is None else pytest.approx(value))
    assert reason in found.reason


def test_no_difference_says_why() -> None:
    scores, positive, groups = patients_with_both(0)
    same = Components.of(scores[0], positive, groups)
    assert same.minus(same).estimate(0.95).value == 0
    assert "differ by the same" in same.minus(same).estimate(0.95).reason
