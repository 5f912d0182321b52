"""Exact statements about counts: the binomial interval, tails of the hypergeometric distribution, sums of counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from medistill.evaluate.intervals import Estimate

LONG = 2**14
"""Numbers up to which a distribution is kept whole."""
SLIGHT = 1e-24
"""Probability of a tail, at most, that is cut of a longer one."""


def exact_proportion(share: float, units: int, confidence: float) -> Estimate:
    """A proportion with the exact binomial interval (Clopper and Pearson 1934).

    The lower limit is the p at which as many successes as were seen, or more, have probability (1 - confidence) / 2,
    and the upper one likewise for as many or fewer: quantiles of beta distributions. Where each unit was tried several
    times, ``share * units`` need not be whole: it is rounded outwards, which makes the interval wider (after Korn and
    Graubard 1998, with the units for the effective sample size: trials of one unit can be no more than alike).

    Args:
        share: of successes, 0..1.
        units: independent units behind it, such as patients, at least 1.
        confidence: level of the interval, such as 0.95.
    """
    from scipy.special import betaincinv  # here, since whoever reads an audit loads this file

    tail = (1 - confidence) / 2
    fewest, most = math.floor(share * units + 1e-9), math.ceil(share * units - 1e-9)
    low = float(betaincinv(fewest, units - fewest + 1, tail)) if fewest > 0 else 0.0
    high = float(betaincinv(most + 1, units - most, 1 - tail)) if most < units else 1.0
    return Estimate(share, min(low, share), max(high, share))


def chance_of_as_many(found: int, members: int, non_members: int, false_positives: int) -> float:
    """How likely ignorance is to find as many: the exact tail for a threshold that was set on the same non-members.

    Let the threshold be the (j + 1)-th largest score of the non-members, so that j lie above it. Where scores say
    nothing of membership, every order is as likely, and ``found`` or more members lie above it exactly where the
    ``found + j`` largest scores hold at least ``found`` members: a hypergeometric tail.

    Args:
        found: members above the threshold.
        members: how many there are.
        non_members: how many there are, more than j.
        false_positives: j.
    """
    drawn = found + false_positives
    return float(drawn_of(members, non_members, drawn)[found:].sum())


def drawn_of(marked: int, others: int, drawn: int) -> np.ndarray:
    """Hypergeometric probabilities (drawn + 1,) of 0, 1, ... marked ones among ``drawn`` of ``marked + others``."""
    counts = np.arange(drawn + 1)
    possible = (counts <= marked) & (drawn - counts <= others)
    of_marked, of_others = _log_choose(marked), _log_choose(others)
    logs = np.full(drawn + 1, -np.inf)
    logs[possible] = of_marked[counts[possible]] + of_others[drawn - counts[possible]]
    return np.asarray(np.exp(logs - _log_choose(marked + others)[drawn]))


def heads_of(coins: int) -> np.ndarray:
    """Probabilities (coins + 1,) of 0, 1, ... heads of so many fair coins."""
    return np.asarray(np.exp(_log_choose(coins) - coins * math.log(2)))


def sum_at_least(found: int, distributions: Sequence[np.ndarray]) -> float:
    """Probability that independent counts, each with its probabilities of 0, 1, ..., add up to ``found`` or more.

    Of distributions longer than `LONG` the tails are cut, or the time would grow with the cube of the number of counts:
    the lower one counts as the least number that is kept, the upper one as ``found`` or more whatever the others are.
    So the probability is never too small, and too large by `SLIGHT` at most for each tail.
    """
    total, first, cut = np.ones(1), 0, 0.0
    for probabilities in distributions:
        part, first_of_part, cut_of_part = _without_tails(probabilities)
        total, first_of_sum, cut_of_sum = _without_tails(np.convolve(total, part))
        first, cut = first + first_of_part + first_of_sum, cut + cut_of_part + cut_of_sum
    return float(min(1.0, total[max(0, found - first) :].sum() + cut))


def _without_tails(probabilities: np.ndarray) -> tuple[np.ndarray, int, float]:
    """Probabilities of the numbers from a first one on, that number, and the upper tail that was cut."""
    if len(probabilities) <= LONG:
        return probabilities, 0, 0.0
    below, above = np.cumsum(probabilities), np.cumsum(probabilities[::-1])
    first, most = (int(np.searchsorted(tail, SLIGHT, side="right")) for tail in (below, above))
    kept = probabilities[first : len(probabilities) - most].copy()
    kept[:1] += below[first - 1] if first else 0.0
    return kept, first, float(above[most - 1]) if most else 0.0


@lru_cache(maxsize=8)
def _log_choose(count: int) -> np.ndarray:
    """Logarithms (count + 1,) of the binomial coefficients of ``count``."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    return np.asarray(logs[-1] - logs - logs[::-1])
