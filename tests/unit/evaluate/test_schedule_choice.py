"""The search for a schedule, against scores that are known beforehand."""

from __future__ import annotations

import math

import pytest

from medistill.evaluate.schedule_choice import Candidate, ScheduleChoice, Trial, search

GRID = {
    "rates": (0.01, 0.03, 0.1),
    "batch_sizes": (64,),
    "updates": 100,
    "most_updates": 1600,
    "least_gain": 0.002,
    "unfinished_gain": 0.002,
}


def saturating(end: float, half: int, best_rate: float = 0.03):
    """Scores that rise to ``end`` with the length, the faster the nearer the rate is to the best; what was tried."""
    tried: list[Candidate] = []

    def attempt(candidate: Candidate) -> Trial:
        tried.append(candidate)
        far = abs(math.log10(candidate.lr / best_rate))
        return Trial(candidate, (end - 0.3 * 2 ** (-candidate.updates / half) - 0.05 * far,) * 2)

    return attempt, tried


def test_the_length_is_doubled_until_the_score_stops_rising():
    attempt, tried = saturating(0.95, 60)
    chosen, trials, rising = search(attempt, **GRID)
    assert [candidate.updates for candidate in tried] == [100, 100, 100, 200, 400, 800, 1600]
    assert (chosen.lr, chosen.updates, rising) == (0.03, 1600, False)
    assert tuple(trial.candidate for trial in trials) == tuple(tried)


def test_an_arm_that_still_rises_at_the_longest_training_is_marked():
    attempt, tried = saturating(0.95, 600)
    chosen, _, rising = search(attempt, **GRID)
    assert (chosen.updates, rising, max(one.updates for one in tried)) == (1600, True, 1600)


def test_a_score_that_falls_with_the_length_keeps_the_shortest():
    def attempt(candidate: Candidate) -> Trial:
        return Trial(candidate, (0.9 - candidate.updates / 10_000,))

    chosen, trials, rising = search(attempt, **GRID)
    assert (chosen, rising) == (Candidate(64, 0.01, 100), False)
    assert len(trials) == 4


def test_a_grid_of_one_entry_whose_length_may_not_grow_says_so():
    attempt, tried = saturating(0.95, 600)
    chosen, _, rising = search(attempt, **{**GRID, "rates": (0.03,), "most_updates": 100})
    assert (chosen, len(tried), rising) == (Candidate(64, 0.03, 100), 1, True)


def test_a_way_that_diverges_when_it_is_longer_ends_the_search():
    rising, _ = saturating(0.95, 60)

    def attempt(candidate: Candidate) -> Trial:
        if candidate.lr > 0.02 and candidate.updates > 100:
            return Trial(candidate, (), "a network diverged")
        return rising(candidate)

    chosen, trials, still = search(attempt, **GRID)
    assert (chosen, still) == (Candidate(64, 0.03, 100), False)
    assert [trial.reason for trial in trials] == ["", "", "", "a network diverged"]


@pytest.mark.parametrize("rates", [(0.01,), (0.01, 0.03)])
def test_where_every_way_diverges_nothing_rises(rates):
    chosen, trials, rising = search(lambda candidate: Trial(candidate, (), "diverged"), **{**GRID, "rates": rates})
    assert (chosen.updates, len(trials), rising) == (100, len(rates), False)


def test_the_curve_has_the_best_way_of_each_length():
    attempt, _ = saturating(0.95, 60)
    chosen, trials, rising = search(attempt, **GRID)
    choice = ScheduleChoice("raw", chosen, trials, rising, 10, "the validation split", 1.0)
    assert [(one.candidate.updates, one.candidate.lr) for one in choice.curve()] == [
        (100, 0.03),
        (200, 0.03),
        (400, 0.03),
        (800, 0.03),
        (1600, 0.03),
    ]


def test_a_rise_that_is_worth_going_on_for_need_not_leave_an_arm_unfinished():
    attempt, _ = saturating(0.95, 600)
    last = attempt(Candidate(64, 0.03, 1600)).score - attempt(Candidate(64, 0.03, 800)).score
    for limit, unfinished in ((last + 0.001, False), (last - 0.001, True)):
        chosen, _, rising = search(attempt, **{**GRID, "unfinished_gain": limit})
        assert (chosen.updates, rising) == (1600, unfinished)
