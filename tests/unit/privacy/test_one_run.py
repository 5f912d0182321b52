"""The attack by one run on made-up scores: who is guessed, what many ways cost, and what the gate says of a promise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from medistill.privacy.attack import Evidence
from medistill.privacy.attacks.one_run import RULES, WITHIN_PROMISE, OneRunAttack, Rule, best_bound, guessed
from medistill.privacy.one_run_bound import epsilon_at_least
from medistill.privacy.signals import CoinScores, OneRunSignals, SetFacts
from medistill.recipe import AuditRecipe

FACTS = SetFacts("patient", "noise", None)


@dataclass(frozen=True)
class Made:
    """Signals of a set made once more alone."""

    one_run: OneRunSignals | None
    level: float = 0.95


def scores(values: np.ndarray, attack: str = "distance") -> CoinScores:
    return CoinScores(attack, "distilled", False, values)


def made(values: np.ndarray, inside: np.ndarray, promised: float | None) -> Evidence:
    signals = OneRunSignals(inside, (scores(values),), 1e-5, promised, "" if promised else "none is stated")
    return OneRunAttack().run(Made(signals))


def test_the_highest_are_guessed_in_and_the_lowest_out() -> None:
    values = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    inside = np.array([True, False, True, True, False])
    assert guessed(values, inside, Rule("", 0.4, 0.4)) == (4, 3)  # 5 and 4 in, 1 and 2 out; 2 is in
    assert guessed(values, inside, Rule("", 0.2, 0.0)) == (1, 1)
    assert guessed(values, ~inside, Rule("", 0.4, 0.4)) == (4, 1)


def test_whoever_has_no_score_is_in_the_middle_and_counts_among_the_guesses_there_are() -> None:
    values = np.array([np.nan, -1.0, 1.0, np.nan, 2.0, -2.0])
    inside = np.array([True, False, True, False, True, False])
    assert guessed(values, inside, Rule("", 0.34, 0.34)) == (4, 4)
    nobody = np.full(6, np.nan)
    assert guessed(nobody, inside, Rule("", 0.5, 0.5))[0] == 6


def test_the_bound_of_many_ways_is_that_of_the_best_at_a_level_divided_by_their_number() -> None:
    rng = np.random.default_rng(0)
    inside = rng.random(200) < 0.5
    known, noise = inside + 0.2 * rng.normal(size=200), rng.normal(size=(3, 200))
    found = best_bound(
        [scores(known), *(scores(one, f"noise {k}") for k, one in enumerate(noise))],
        inside,
        delta=1e-5,
        confidence=0.95,
    )
    tests = 4 * len(RULES)
    assert found is not None
    assert (found.attack, found.guesses, found.right, found.tests) == ("distance", 160, 160, tests)
    alone = epsilon_at_least(160, 160, 200, delta=1e-5, confidence=1 - 0.05 / tests)
    assert 0 <= alone - found.epsilon < 1e-4
    assert best_bound([], inside, delta=1e-5, confidence=0.95) is None


def test_scores_that_know_nothing_refute_nothing_in_more_than_one_set_in_twenty() -> None:
    rng, refuted = np.random.default_rng(1), 0
    for _ in range(200):
        inside = rng.random(100) < 0.5
        some = [scores(rng.normal(size=100), str(k)) for k in range(4)]
        found = best_bound(some, inside, delta=0.0, confidence=0.95)
        refuted += found is not None and found.epsilon > 0
    assert refuted <= 17  # 10 are expected at most; as many or more of 0.05 have a chance of 2 in 100


@pytest.mark.parametrize(("promised", "verdict"), [(1.0, "fail"), (2.0, "pass")])
def test_the_gate_holds_a_promise_against_what_is_refuted(promised: float, verdict: str) -> None:
    """All guesses right show 3 to be exceeded, as many wrong ones nothing."""
    inside = np.arange(100) % 2 == 0
    scores = inside + 0.0 if verdict == "fail" else 1.0 - inside
    (asked,) = OneRunAttack().judge(made(scores, inside, promised), FACTS, AuditRecipe())
    assert (asked.verdict, asked.threshold, asked.asked) == (verdict, promised, WITHIN_PROMISE)
    assert asked.figure is not None
    assert asked.can_pass == (verdict == "pass")


def test_without_a_promise_nothing_is_asked_and_without_a_set_there_is_no_evidence() -> None:
    inside = np.arange(100) % 2 == 0
    attack = OneRunAttack()
    assert attack.judge(made(inside + 0.0, inside, None), FACTS, AuditRecipe()) == ()
    assert attack.judge(attack.run(Made(None)), FACTS, AuditRecipe()) == ()
    impossible = OneRunSignals(inside[:3], (), 1e-5, 3.0, "", reason="there are 3 patients")
    found = attack.run(Made(impossible))
    (asked,) = attack.judge(found, FACTS, AuditRecipe())
    assert (asked.verdict, asked.reason, asked.figure) == ("not enough evidence", "there are 3 patients", None)
    assert found.one_run is not None
    assert replace(found.one_run, seconds=1.0).of("distilled") is None
