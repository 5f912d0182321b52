"""What right guesses say of epsilon: against sums, against the worst mechanism there is, and against simulation."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import linprog

from medistill.privacy.one_run_bound import chance_of_right_guesses, epsilon_at_least


def correct_with(epsilon: float) -> float:
    """How often randomised response tells the truth."""
    return math.exp(epsilon) / (1 + math.exp(epsilon))


def published_chance(right: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """The bound of the paper (its corollary 5.4), from its words: what its second term is may differ from ours."""
    at_least = stats.binom(guesses, correct_with(epsilon)).sf
    steepest = max((at_least(right - i - 1) - at_least(right - 1)) / i for i in range(1, right + 1))
    return float(at_least(right - 1) + 2 * canaries * delta * steepest)


def likeliest(right: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """The largest chance of as many right guesses over all (epsilon, delta)-private mechanisms there are.

    A linear program in the probability of every answer under all coins: no symmetry is made use of.
    """
    coins = list(itertools.product((-1, 1), repeat=canaries))
    answers = [t for t in itertools.product((-1, 0, 1), repeat=canaries) if np.abs(t).sum() == guesses]
    size = len(coins) * len(answers)
    pairs = [(s, u) for s in coins for u in coins if sum(a != b for a, b in zip(s, u, strict=True)) == 1]
    place = {(s, t): k for k, (s, t) in enumerate(itertools.product(coins, answers))}
    objective = np.zeros(size + len(pairs) * len(answers))
    for (s, t), k in place.items():
        objective[k] = -(sum(a == b for a, b in zip(s, t, strict=True)) >= right) / len(coins)
    rows, limits = [], []
    for pair, (s, u) in enumerate(pairs):
        excess = np.zeros(len(objective))
        for number, t in enumerate(answers):
            row, slack = np.zeros(len(objective)), size + pair * len(answers) + number
            row[place[s, t]], row[place[u, t]], row[slack] = 1, -math.exp(epsilon), -1
            excess[slack] = 1
            rows.append(row)
        limits += [0.0] * len(answers) + [delta]
        rows.append(excess)
    sums = np.zeros((len(coins), len(objective)))
    for (s, _), k in place.items():
        sums[coins.index(s), k] = 1
    found = linprog(objective, np.array(rows), limits, sums, np.ones(len(coins)), bounds=(0, None), method="highs")
    return float(-found.fun)


@pytest.mark.parametrize(("right", "guesses"), [(1, 1), (1, 7), (4, 7), (7, 7), (0, 5), (19, 30)])
def test_without_delta_it_is_the_tail_of_a_binomial(right: int, guesses: int) -> None:
    share = Fraction(3, 4)  # of randomised response at epsilon = log 3
    tail = sum(math.comb(guesses, k) * share**k * (1 - share) ** (guesses - k) for k in range(right, guesses + 1))
    told = chance_of_right_guesses(right, guesses, 40, epsilon=math.log(3), delta=0.0)
    assert told == pytest.approx(float(tail), rel=1e-12)


CASES = [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 3, 3), (3, 3, 3), (1, 1, 3), (2, 2, 3)]


@pytest.mark.parametrize(("right", "guesses", "canaries"), CASES)
@pytest.mark.parametrize("epsilon", [0.3, 1.0])
def test_no_private_mechanism_beats_it_and_some_come_near(
    right: int, guesses: int, canaries: int, epsilon: float
) -> None:
    delta = 0.02
    worst = likeliest(right, guesses, canaries, epsilon, delta)
    bound = chance_of_right_guesses(right, guesses, canaries, epsilon=epsilon, delta=delta)
    pure = chance_of_right_guesses(right, guesses, canaries, epsilon=epsilon, delta=0.0)
    assert worst <= bound + 1e-7
    assert worst - pure > 0.7 * (bound - pure)
    if right == guesses <= 2:
        assert worst == pytest.approx(bound, abs=1e-7)


def test_the_published_second_term_reads_otherwise_and_gives_nearly_the_same() -> None:
    assert published_chance(75, 100, 1000, 0.673, 1e-4) == pytest.approx(0.05, abs=1e-4)  # appendix D of the paper
    assert published_chance(1439, 1510, 100_000, 2.675, 1e-5) == pytest.approx(0.05, abs=1e-3)  # its section 7
    assert 0.673 < epsilon_at_least(75, 100, 1000, delta=1e-4, confidence=0.95) < 0.703
    assert 2.675 < epsilon_at_least(1439, 1510, 100_000, delta=1e-5, confidence=0.95) < 2.807
    assert published_chance(1, 2, 2, 1.0, 0.01) < likeliest(1, 2, 2, 1.0, 0.01)  # where chances are near 1


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("delta", [0.0, 1e-5])
def test_it_lies_below_the_truth_as_often_as_it_says_and_is_not_far(epsilon: float, delta: float) -> None:
    rng, canaries = np.random.default_rng(round(1000 * epsilon)), 1000
    truth = delta + (1 - delta) * correct_with(epsilon)  # tells the coin outright with probability delta
    drawn, runs = np.unique(rng.binomial(canaries, truth, 2000), return_counts=True)
    told = np.array([epsilon_at_least(v, canaries, canaries, delta=delta, confidence=0.95) for v in drawn])
    assert 0.94 <= runs[told <= epsilon].sum() / 2000 < 1  # 0.95, less two deviations of 2,000 runs
    assert np.median(np.repeat(told, runs)) > (0.75 if epsilon < 1 else 0.85) * epsilon


def test_right_guesses_by_chance_say_nothing() -> None:
    rng = np.random.default_rng(5)
    drawn, runs = np.unique(rng.binomial(200, 0.5, 2000), return_counts=True)
    told = np.array([epsilon_at_least(v, 200, 300, delta=1e-5, confidence=0.95) for v in drawn])
    assert runs[told == 0].sum() / 2000 >= 0.94


def test_more_right_ones_say_more_and_more_confidence_or_delta_less() -> None:
    by_right = [epsilon_at_least(v, 100, 150, delta=1e-5, confidence=0.95) for v in range(101)]
    assert np.all(np.diff(by_right) >= 0)
    assert by_right[50] == 0
    assert by_right[-1] == pytest.approx(-math.log(0.05**-0.01 - 1), rel=1e-3)  # q^100 = 0.05
    by_level = [epsilon_at_least(80, 100, 150, delta=1e-5, confidence=c) for c in (0.5, 0.9, 0.99, 0.9999)]
    by_delta = [epsilon_at_least(80, 100, 150, delta=d, confidence=0.95) for d in (0.0, 1e-6, 1e-4, 1e-3)]
    assert np.all(np.diff(by_level) < 0)
    assert np.all(np.diff(by_delta) < 0)


def test_what_is_told_is_refuted_and_a_little_more_is_not() -> None:
    for right, guesses, canaries, delta in [(70, 100, 100, 0.0), (60, 60, 700, 1e-5), (700, 1000, 1000, 1e-6)]:
        least = epsilon_at_least(right, guesses, canaries, delta=delta, confidence=0.95)
        known = {"delta": delta}
        assert chance_of_right_guesses(right, guesses, canaries, epsilon=least, **known) <= 0.05 + 1e-12
        assert chance_of_right_guesses(right, guesses, canaries, epsilon=least + 1e-6, **known) > 0.05


def test_nothing_guessed_says_nothing_and_a_large_delta_neither() -> None:
    assert epsilon_at_least(0, 0, 20, delta=0.0, confidence=0.95) == 0
    assert epsilon_at_least(0, 20, 20, delta=0.0, confidence=0.95) == 0
    assert epsilon_at_least(20, 20, 20, delta=0.9, confidence=0.95) == 0
    assert math.isfinite(epsilon_at_least(10_000, 10_000, 10_000, delta=0.0, confidence=0.95))


@pytest.mark.parametrize(
    ("counts", "delta", "confidence", "named"),
    [
        ((6, 5, 10), 0.0, 0.95, "6 right guesses of 5 about 10 people"),
        ((1, 5, 4), 0.0, 0.95, "1 right guesses of 5 about 4 people"),
        ((-1, 5, 10), 0.0, 0.95, "-1 right"),
        ((1, 5, 10), 1.0, 0.95, "delta is 1.0"),
        ((1, 5, 10), math.nan, 0.95, "delta is nan"),
        ((1, 5, 10), 0.0, 1.0, "confidence is 1.0"),
    ],
)
def test_what_cannot_be_is_refused(counts: tuple[int, int, int], delta: float, confidence: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        epsilon_at_least(*counts, delta=delta, confidence=confidence)


def test_an_epsilon_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="epsilon is"):
        chance_of_right_guesses(1, 2, 2, epsilon=math.inf, delta=0.0)
