"""Soft labels: whether they carry wrong labels of patients, which only memory of these could have put there.

What networks say that learnt from the set is asked by the canaries. This asks the labels themselves, of the same
shadows, and trains nothing.
"""

from __future__ import annotations

import numpy as np

from medistill.evaluate.intervals import Estimate
from medistill.privacy.attack import NOT_MADE, Evidence, Figures
from medistill.privacy.attacks.canaries import NO_CANARY, NO_INTERVAL
from medistill.privacy.criterion import Asked, Criterion, Verdict
from medistill.privacy.label_memory import chance_of_following, guesses, told_apart
from medistill.privacy.membership import SOURCES, LabelTest, SoftLabels
from medistill.privacy.score_attack import MembershipFamily
from medistill.privacy.signals import LabelAnswers, SetFacts, Signals
from medistill.recipe import AuditRecipe

FOLLOWED = Asked("followed labels", "at least", "share", "canary_chance")
"""Chance of labels that follow wrong ones as well, if holding these did nothing."""
NAME = "Chance of soft labels that follow wrong ones as well"
HARD = "the set has classes for labels, and these cannot say more of one class and less of another"
VECTORS = "its labels are target vectors, which are of no class; attacks in the teacher's features ask about them"
NOT_SOFT = "the labels of the shadows are classes"
ALL_EQUAL = "the shadows' labels say the same, whoever is held"
NOT_FINITE = "what the shadows' labels say of the canaries is no finite number"


class SoftLabelAttack(MembershipFamily):
    """Made on the labels of the shadows' sets; networks on all originals, wrong labels and all, are its control."""

    name, display_name, needs, rank = "soft labels", "soft labels", "shadows", 92
    knows, plain_words = ("set", "recipe", "insertion"), "False answers that the labels repeat"
    asks = (FOLLOWED,)

    def run(self, signals: Signals) -> Evidence:
        """A test of the labels, and of what networks on all originals say; none where there is nothing to ask."""
        facts = signals.facts
        if not facts.soft_labels:
            return Evidence(soft_labels=SoftLabels((), VECTORS if facts.by_targets else HARD))
        shadows = signals.shadows
        reason = shadows.reason or ("" if shadows.canaries else NO_CANARY) or ("" if shadows.labels else NOT_SOFT)
        told = [one for one in shadows.labels if np.isfinite(one.scores).all()]
        if not any(one.source == "distilled" for one in told):
            reason = reason or NOT_FINITE
        return Evidence(soft_labels=SoftLabels(tuple(map(label_test, told)), reason))

    def judge(self, evidence: Evidence, facts: SetFacts, settings: AuditRecipe) -> tuple[Criterion, ...]:
        """Whether they follow wrong labels better than by accident; nothing is asked of a set without soft labels."""
        found, least = evidence.soft_labels, FOLLOWED.threshold(settings)
        if found is None or not facts.soft_labels:
            return ()
        test = found.of("distilled")
        if test is None or test.chance is None:
            return (Criterion(NAME, None, least, "not enough evidence", found.reason or ALL_EQUAL, FOLLOWED),)
        verdict: Verdict = "pass" if test.chance >= least else "fail"
        too_few = "" if test.guesses is None or 0.5**test.guesses < least else _too_few(test.guesses)
        return (Criterion(NAME, test.chance, least, verdict, "", FOLLOWED).unless_sure_to_pass(too_few),)

    def figures(self, evidence: Evidence, asked: Asked) -> Figures:
        """The chance; of networks that learnt wrong labels by heart it is next to nothing."""
        found = evidence.soft_labels
        tests = (None if found is None else found.of(source) for source in SOURCES)
        chances = (None if test is None else test.chance for test in tests)
        return Figures(*(NOT_MADE if one is None else Estimate(one, reason=NO_INTERVAL) for one in chances))


def label_test(answers: LabelAnswers) -> LabelTest:
    """How well what is said of the canaries tells which shadows hold them."""
    scores, held = answers.scores, answers.inserted
    shadows, canaries = scores.shape
    some = held.any(axis=0) & ~held.all(axis=0)
    chance, made = chance_of_following(scores, held), int(np.count_nonzero(guesses(scores)[:, some]))
    return LabelTest(answers.source, shadows, canaries, told_apart(scores, held), chance, made)


def _too_few(made: int) -> str:
    return f"if all {made} guesses were right, coins would still agree as well with a chance of {0.5**made:.2g}"


ATTACKS = (SoftLabelAttack(),)
