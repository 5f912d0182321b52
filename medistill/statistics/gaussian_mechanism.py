"""The analytic Gaussian mechanism: how much noise one release needs for a budget, exactly, and the other way round.

A vector that one unit moves by at most 1 in L2 norm, with noise Normal(0, sigma^2 I) added, is (epsilon, delta)-
differentially private exactly where (Balle and Wang 2018, Theorem 8, arXiv:1805.06530)

    Phi(1 / (2 sigma) - epsilon sigma) - exp(epsilon) Phi(-1 / (2 sigma) - epsilon sigma)  <=  delta,

Phi being the distribution function of the standard normal. Several such releases of the same units are together one
with 1 / sigma^2 the sum of theirs, since what they tell of a unit is the sum of independent normal variables (Dong,
Roth and Su 2022, Corollary 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import lru_cache

PLACES = 10_000
"""Steps of sigma in a unit: it is rounded up to the next one."""
STEPS = 200
"""Of a bisection: more than doubles can tell apart."""


def delta_of(sigma: float, epsilon: float) -> float:
    """Return the smallest delta that holds with this noise at this epsilon.

    Args:
        sigma: noise in units of the sensitivity, above 0.
        epsilon: at least 0.
    """
    from scipy.special import log_ndtr  # here, since whoever reads a guarantee loads this file

    upper = float(log_ndtr(1 / (2 * sigma) - epsilon * sigma))
    lower = epsilon + float(log_ndtr(-1 / (2 * sigma) - epsilon * sigma))
    return max(0.0, -math.exp(upper) * math.expm1(min(0.0, lower - upper)))


@lru_cache
def sigma_for(epsilon: float, delta: float) -> float:
    """Return the smallest noise, rounded up to the next of `PLACES`, that keeps one release within a budget.

    Args:
        epsilon: above 0.
        delta: in (0, 1).
    """
    return math.ceil(PLACES * _crossing(lambda sigma: delta_of(sigma, epsilon) <= delta)) / PLACES


@lru_cache
def epsilon_of(sigma: float, delta: float) -> float:
    """Return the smallest epsilon, to the last bits and rounded up, that holds with this noise at this delta."""
    if delta_of(sigma, 0.0) <= delta:
        return 0.0
    return _crossing(lambda epsilon: delta_of(sigma, epsilon) <= delta)


def joint_sigma(sigmas: Iterable[float]) -> float:
    """Return the noise of one release that tells as much of a unit as several with these do together."""
    return 1 / math.sqrt(math.fsum(1 / sigma**2 for sigma in sigmas))


def _crossing(enough: Callable[[float], bool]) -> float:
    """Return a number at which ``enough`` holds, just above the one at which it begins to; it holds for all larger."""
    low, high = 0.0, 1.0
    while not enough(high):
        low, high = high, 2 * high
    for _ in range(STEPS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if enough(middle):
            high = middle
        else:
            low = middle
    return high
