"""What several releases spend together, against the sum and against the closed form of the Gaussian mechanism."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from itertools import pairwise

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from medistill.errors import ArtifactError
from medistill.privacy.spent import Release, Spent, together

ONE = Release(epsilon=1.2, delta=1e-5, unit="patient", sigma=5.0, sample_rate=1.0, steps=1)
OTHER = replace(ONE, epsilon=0.8, sigma=8.0, steps=2)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Of a Gaussian mechanism with sensitivity mu and noise 1 (Balle and Wang 2018, Theorem 8)."""

    def excess(epsilon: float) -> float:
        low = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
        return float(low) - delta

    return float(brentq(excess, 0, 100))


def test_releases_of_different_noise_compose_as_one_gaussian() -> None:
    """At a rate of 1 the updates are Gaussian mechanisms, of which mu squared adds up."""
    exact = gaussian_epsilon(math.sqrt(1 / 5**2 + 2 / 8**2), 2e-5)
    found = together([ONE, OTHER])
    assert found == pytest.approx(exact, rel=1e-9)
    assert exact < 2.0
    assert together([OTHER, ONE]) == pytest.approx(found, rel=1e-9)


def test_the_sum_is_taken_where_it_is_smaller_or_all_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opacus")
    little = [replace(ONE, epsilon=0.1), replace(ONE, epsilon=0.1)]
    assert together(little) == pytest.approx(0.2)
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    sampled = [replace(one, sample_rate=0.5) for one in (ONE, OTHER)]
    assert together(sampled) == pytest.approx(2.0)
    assert together([ONE]) == 1.2
    assert together([]) == 0


def test_more_releases_never_spend_less() -> None:
    one = replace(ONE, epsilon=gaussian_epsilon(1 / 5, 1e-5))
    totals = [together([one] * count) or 0 for count in range(1, 6)]
    assert all(first < second for first, second in pairwise(totals))


def test_nothing_is_promised_of_different_units_or_of_a_delta_of_one() -> None:
    assert together([ONE, replace(ONE, unit="image")]) is None
    assert together([replace(ONE, delta=0.5)] * 2) is None
    mixed = Spent.of([ONE], [replace(ONE, unit="image")])
    assert (mixed.unit, mixed.epsilon, mixed.others_epsilon) == ("", None, 1.2)
    assert "their units differ" in mixed.sentence
    assert "add up to 1" in Spent.of([replace(ONE, delta=0.5)], [replace(ONE, delta=0.5)]).sentence


def test_the_sentence_says_what_was_before_and_what_is_in_all() -> None:
    alone = Spent.of([], [ONE])
    assert (alone.releases, alone.epsilon, alone.others_epsilon) == (1, 1.2, 0)
    assert "Nothing else was released" in alone.sentence
    both = Spent.of([ONE], [OTHER])
    assert both.delta == pytest.approx(2e-5)
    assert "one of 2 releases" in both.sentence
    assert "without this one 1.2" in both.sentence
    assert "delta = 2e-05 for one patient" in both.sentence


def test_as_json_and_back() -> None:
    spent = Spent.of([ONE], [OTHER])
    assert Spent.from_json(spent.as_json()) == spent
    for wrong in ({"releases": 0}, {"epsilon": math.nan}, {"epsilon": 0}, {"delta": "1"}, {"unit": "x"}, {"more": 1}):
        with pytest.raises(ArtifactError, match="spent in all"):
            Spent.from_json({**spent.as_json(), **wrong})
