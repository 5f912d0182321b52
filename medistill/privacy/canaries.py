"""Canaries: images with wrong labels, given to some shadows. Only memory can make a network repeat such a label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medistill.evaluate.intervals import Estimate
from medistill.privacy.exact import drawn_of, exact_proportion, sum_at_least


@dataclass(frozen=True)
class CanaryTest:
    """Whether networks repeat the wrong labels of images that their source held.

    Attributes:
        source: what the networks learnt from, as in `MembershipAttack`.
        canaries: images with a wrong label.
        inserted: share of the answers that give the wrong label, where the source held the canary.
        absent: the same where it did not.
        chance: exact probability of as many wrong labels for inserted canaries, if insertion did nothing; None where
            it cannot be told.
    """

    source: str
    canaries: int
    inserted: Estimate
    absent: Estimate
    chance: float | None


def canary_test(repeats: np.ndarray, inserted: np.ndarray, source: str, *, level: float) -> CanaryTest:
    """Compare shadows that hold a canary with shadows that do not.

    Which shadows hold canary i is drawn by fair coins, independent of all else. If it does not matter, then given that
    Y_i of the K shadows repeat its label and M_i hold it, the number that do both is hypergeometric (Fisher 1935), and
    independent of the other canaries. The chance is the tail of the sum of these numbers.

    Args:
        repeats: (K, C) bool, shadow k gives canary i its wrong label.
        inserted: (K, C) bool, the source of shadow k held it.
        source: what the networks learnt from.
        level: of both intervals, which count a canary once, however many shadows answer (see `exact_proportion`).
    """
    shares = [_share(repeats, taken, level) for taken in (inserted, ~inserted)]
    chance = None
    if inserted.any() and not inserted.all():
        both = int(np.sum(repeats & inserted))
        chance = sum_at_least(
            both,
            [
                drawn_of(int(says.sum()), int(np.sum(~says)), int(held.sum()))
                for says, held in zip(repeats.T, inserted.T, strict=True)
            ],
        )
    return CanaryTest(source, repeats.shape[1], shares[0], shares[1], chance)


def _share(repeats: np.ndarray, taken: np.ndarray, level: float) -> Estimate:
    if not taken.any():
        return Estimate.impossible("there is no such pair of a canary and a shadow")
    return exact_proportion(float(repeats[taken].mean()), int(taken.any(axis=0).sum()), level)
