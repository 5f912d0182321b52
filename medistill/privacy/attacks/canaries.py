"""Canaries: images with wrong labels, given to some shadows. Only memory can make a network repeat such a label."""

from __future__ import annotations

import numpy as np

from medistill.evaluate.intervals import Estimate
from medistill.privacy.attack import NOT_MADE, Evidence, Figures
from medistill.privacy.criterion import Asked, Criterion, Verdict
from medistill.privacy.exact import drawn_of, exact_proportion, sum_at_least
from medistill.privacy.membership import SOURCES, CanaryTest
from medistill.privacy.score_attack import MembershipFamily
from medistill.privacy.signals import SetFacts, Signals
from medistill.recipe import AuditRecipe

CHANCE = Asked("repeated canaries", "at least", "share", "canary_chance")
"""Chance of as many wrong labels, if holding the canary did nothing."""
NO_CANARY = (
    "no training image was given a wrong label: audit.canaries is 0, or there are fewer than 20 training patients"
)


NO_INTERVAL = "a chance has no interval"


def canary_test(repeats: np.ndarray, inserted: np.ndarray, source: str, *, level: float) -> CanaryTest:
    """Compare shadows that hold a canary with shadows that do not.

    Which shadows hold canary i is drawn by fair coins, independent of all else. If it does not matter, then given that
    Y_i of the K shadows repeat its label and M_i hold it, the number that do both is hypergeometric (Fisher 1935), and
    independent of the other canaries. The chance is the tail of the sum of these numbers. None is smaller than where
    Y_i = M_i and all of these do both, product of 1 / C(K, M_i): with fewer repeats, or more, more ways are as extreme.

    Args:
        repeats: (K, C) bool, shadow k gives canary i its wrong label.
        inserted: (K, C) bool, the source of shadow k held it.
        source: what the networks learnt from.
        level: of both intervals, which count a canary once, however many shadows answer (see `exact_proportion`).
    """
    shares = [_share(repeats, taken, level) for taken in (inserted, ~inserted)]
    chance = smallest = None
    if inserted.any() and not inserted.all():
        held_by = inserted.sum(axis=0)
        smallest = float(np.prod([drawn_of(k, len(inserted) - k, k)[-1] for k in held_by.tolist()]))
        both = int(np.sum(repeats & inserted))
        chance = sum_at_least(
            both,
            [
                drawn_of(int(says.sum()), int(np.sum(~says)), int(held.sum()))
                for says, held in zip(repeats.T, inserted.T, strict=True)
            ],
        )
    return CanaryTest(source, repeats.shape[1], shares[0], shares[1], chance, smallest)


def _share(repeats: np.ndarray, taken: np.ndarray, level: float) -> Estimate:
    if not taken.any():
        return Estimate.impossible("there is no such pair of a canary and a shadow")
    return exact_proportion(float(repeats[taken].mean()), int(taken.any(axis=0).sum()), level)


def _too_few(smallest: float | None, least: float) -> str:
    if smallest is None or smallest < least:
        return ""
    return f"the smallest chance that so few canaries and shadows can show is {smallest:.2g}"


def _chance(chance: float | None) -> Estimate:
    return NOT_MADE if chance is None else Estimate(chance, reason=NO_INTERVAL)


class Canaries(MembershipFamily):
    """Made on the shadows: about half of them hold each canary."""

    name, display_name, needs, rank = "canaries", "canaries", "shadows", 90
    knows, plain_words = ("set", "recipe", "insertion"), "False answers put in that come out again"
    asks = (CHANCE,)

    def run(self, signals: Signals) -> Evidence:
        """A test a source."""
        shadows = signals.shadows
        tests = (canary_test(one.repeats, one.inserted, one.source, level=signals.level) for one in shadows.canaries)
        return Evidence(canaries=tuple(tests), reason=shadows.reason)

    def judge(self, evidence: Evidence, facts: SetFacts, settings: AuditRecipe) -> tuple[Criterion, ...]:
        """Whether networks repeat wrong labels more often than by accident."""
        name, least = "Chance of as many repeated canaries", CHANCE.threshold(settings)
        tests = [test for test in evidence.canaries if test.source == "distilled"]
        if not tests:
            return (Criterion(name, None, least, "not enough evidence", evidence.reason or NO_CANARY, CHANCE),)
        told = []
        for test in tests:
            verdict: Verdict = "pass" if test.chance is not None and test.chance >= least else "fail"
            reason = ""
            if test.chance is None:
                verdict, reason = "not enough evidence", "every shadow held every canary, or none did"
            found = Criterion(name, test.chance, least, verdict, reason, CHANCE)
            told.append(found.unless_sure_to_pass(_too_few(test.smallest, least)))
        return tuple(told)

    def figures(self, evidence: Evidence, asked: Asked) -> Figures:
        """The chance on each source: where wrong labels are learnt by heart it is next to nothing."""
        chances = {one.source: one.chance for one in evidence.canaries}
        return Figures(*(_chance(chances.get(source)) for source in SOURCES))


ATTACKS = (Canaries(),)
