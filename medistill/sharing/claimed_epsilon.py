"""Claimed epsilon: whether a guarantee follows from the noise, the rate and the steps that it states itself."""

from __future__ import annotations

import math
import warnings

from medistill.errors import UsageError
from medistill.privacy.accounting import (
    ACCOUNTANT,
    ANALYTIC,
    GRID,
    LOWEST,
    MECHANISM,
    ONE_RELEASE,
    Guarantee,
    spent_epsilon,
)
from medistill.statistics.gaussian_mechanism import epsilon_of

MOST_STEPS = 10**7
MOST_EPSILON = 100.0
LEAST_DELTA = 1e-12
"""Outside of these the accountant may need more memory than there is, and the numbers are a stranger's."""
ROUNDING = 1e-6
"""What another processor may make of the same closed form, as a share."""
SLACK = 0.05
"""The accountant's error as a share of the bound by Rényi divergence, so that what it needs is bounded too."""


def least_epsilon(claim: Guarantee) -> float | None:
    """A lower bound of the epsilon that the stated updates spend; None where it cannot be told, or not cheaply.

    The accountant's bound lies at most twice its error above what is spent (Gopi, Lee and Wutschitz 2021, Theorem 5.5),
    which is taken off: a true claim is never below.
    """
    if (claim.mechanism, claim.accountant) == (ONE_RELEASE, ANALYTIC):
        releases = claim.steps * claim.experts
        return (1 - ROUNDING) * epsilon_of(claim.sigma / math.sqrt(releases), claim.delta)
    steps = claim.steps * claim.experts
    known = (claim.mechanism, claim.accountant) == (MECHANISM, ACCOUNTANT)
    if not known or claim.sigma < LOWEST / GRID or steps > MOST_STEPS or claim.delta < LEAST_DELTA:
        return None
    try:
        from opacus.accountants import RDPAccountant  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return None
    accountant = RDPAccountant()
    accountant.history = [(claim.sigma, claim.sample_rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of orders that are too few
        bound = float(accountant.get_epsilon(claim.delta))
    if not 0 < bound <= MOST_EPSILON:
        return None
    error = SLACK * bound
    try:
        return spent_epsilon(claim.sigma, claim.delta, claim.sample_rate, steps, error=error) - 2 * error
    except UsageError:
        return None
