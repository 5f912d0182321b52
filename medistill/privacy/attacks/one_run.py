"""One run: who was in a set that is made once, guessed from it, and what the right guesses say of epsilon.

Where shadows cannot be had, this asks the same of a single set: it is made once more, with a fair coin for each of some
training patients that decides whether they are in (Steinke, Nasr and Jagielski 2023; see
`medistill.privacy.one_run_bound`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from medistill.evaluate.intervals import Estimate
from medistill.privacy.attack import NOT_MADE, Evidence, Figures
from medistill.privacy.criterion import Asked, Criterion, Verdict
from medistill.privacy.membership import SOURCES, OneRun, OneRunBound
from medistill.privacy.one_run_bound import epsilon_at_least
from medistill.privacy.score_attack import MembershipFamily
from medistill.privacy.signals import CoinScores, OneRunSignals, SetFacts, Signals
from medistill.recipe import AuditRecipe

WITHIN_PROMISE = Asked("one run epsilon", "at most", "number")
"""What the set promises, where it promises something; else nothing is asked."""
FROM_BELOW = "it is a bound from below"
UNSHOWN = (
    "Whether the set keeps its epsilon of {promised:g} was not tested: had every guess about {people} people been "
    "right, one run would have shown {shown:.2f} to be exceeded."
)
NAME = "Epsilon that one run shows to be exceeded"


@dataclass(frozen=True)
class Rule:
    """Who is guessed by scores: shares of the patients, rounded down.

    Attributes:
        name: of the rule.
        highest: share that is guessed to be in.
        lowest: share that is guessed to be out.
    """

    name: str
    highest: float
    lowest: float


RULES = (
    Rule("two fifths as in, two fifths as out", 0.4, 0.4),
    Rule("a fifth as in, a fifth as out", 0.2, 0.2),
    Rule("a tenth as in", 0.1, 0.0),
)
"""For a trace that all leave, one that some leave, and one that few leave; fixed before anything is looked at. Whoever
is in the middle is never guessed: coins seldom put just half of the patients in, so some of them would be wrong."""


def guessed(values: np.ndarray, inside: np.ndarray, rule: Rule) -> tuple[int, int]:
    """How many coins a rule guesses, and how many of these rightly.

    Whoever has no score is put in the middle, so that the number of guesses does not hang on the set; of equal scores
    the later patient counts as higher, which has nothing to do with coins.

    Args:
        values: (m,), higher for who seems to be in; NaN where there is no score.
        inside: bool (m,), the coins.
        rule: who is guessed.
    """
    known = np.isfinite(values)
    middle = float(np.median(values[known])) if known.any() else 0.0
    order = np.argsort(np.where(known, values, middle), kind="stable")
    as_in, as_out = (int(share * len(inside)) for share in (rule.highest, rule.lowest))
    right = int(inside[order[len(order) - as_in :]].sum()) + int((~inside[order[:as_out]]).sum())
    return as_in + as_out, right


def best_bound(
    scores: Iterable[CoinScores], inside: np.ndarray, *, delta: float, confidence: float
) -> OneRunBound | None:
    """The largest bound that any of the scores gives by any rule; None where there is no score.

    All of them are tested, so each is tested at a level of (1 - confidence) over their number (Bonferroni): then the
    largest holds with that confidence too.

    Args:
        scores: of one source.
        inside: bool (m,), the coins.
        delta: at which epsilon is bounded.
        confidence: such as 0.95.
    """
    tried = [(one, rule) for one in scores for rule in RULES]
    level, bounds = (1 - confidence) / max(1, len(tried)), []
    for one, rule in tried:
        guesses, right = guessed(one.values, inside, rule)
        epsilon = epsilon_at_least(right, guesses, len(inside), delta=delta, confidence=1 - level)
        bounds.append(
            OneRunBound(one.source, one.attack, one.beside, rule.name, guesses, right, len(tried), _down(epsilon))
        )
    return max(bounds, key=lambda one: (one.epsilon, one.right / max(1, one.guesses)), default=None)


def most_shown(found: OneRun, bound: OneRunBound) -> float:
    """The epsilon that would be exceeded if every guess were right, by the rule that then shows most."""
    level, people = (1 - found.confidence) / max(1, bound.tests), found.canaries
    guesses = {int(rule.highest * people) + int(rule.lowest * people) for rule in RULES}
    shown = (epsilon_at_least(n, n, people, delta=found.delta, confidence=1 - level) for n in guesses if n)
    return _down(max(shown, default=0.0))


def _down(epsilon: float) -> float:
    """To four decimals; a larger number would claim too much."""
    return math.floor(1e4 * epsilon) / 1e4


class OneRunAttack(MembershipFamily):
    """Made on a set that is made once more, and on the originals that it is made of."""

    name, display_name, needs, rank = "one run", "one run", "one run", 95
    knows, plain_words = ("set", "recipe", "person", "others"), "Who was in, of patients drawn by coin"
    asks = (WITHIN_PROMISE,)

    def run(self, signals: Signals) -> Evidence:
        """A bound a source; nothing where none is asked for."""
        made = signals.one_run
        return Evidence() if made is None else Evidence(one_run=_record(made, signals.level))

    def judge(self, evidence: Evidence, facts: SetFacts, settings: AuditRecipe) -> tuple[Criterion, ...]:
        """Whether the set keeps what it promises, as far as this can tell; nothing is asked of one that promises none.

        No threshold stands for a set without a promise: what is not private at any epsilon is judged by how many
        patients attacks find.
        """
        found = evidence.one_run
        if found is None or found.stated_epsilon is None:
            return ()
        bound, most = found.of("distilled"), found.stated_epsilon
        if bound is None:
            reason = found.reason or "no attack gives a score"
            return (Criterion(NAME, None, most, "not enough evidence", reason, WITHIN_PROMISE),)
        if bound.epsilon <= most and most_shown(found, bound) <= most:
            return ()  # to ask it would be to ask nothing; see `leaves_open`
        verdict: Verdict = "fail" if bound.epsilon > most else "pass"
        return (Criterion(NAME, bound.epsilon, most, verdict, "", WITHIN_PROMISE),)

    def leaves_open(self, evidence: Evidence | None) -> str:
        """That so few people could not have shown the promise to be broken, where they could not."""
        found = None if evidence is None else evidence.one_run
        bound = None if found is None else found.of("distilled")
        if found is None or bound is None or found.stated_epsilon is None:
            return super().leaves_open(evidence)
        shown, most = most_shown(found, bound), found.stated_epsilon
        if bound.epsilon > most or shown > most:
            return ""
        return UNSHOWN.format(shown=shown, people=found.canaries, promised=most)

    def figures(self, evidence: Evidence, asked: Asked) -> Figures:
        """The bound on each source; of originals, which promise nothing, it shows what there is to find."""
        found = evidence.one_run
        bounds = (None if found is None else found.of(source) for source in SOURCES)
        return Figures(*(NOT_MADE if one is None else Estimate(one.epsilon, reason=FROM_BELOW) for one in bounds))


def _record(made: OneRunSignals, confidence: float) -> OneRun:
    """What follows from every source."""
    bounds = (
        best_bound(
            [one for one in made.scores if one.source == source],
            made.inside,
            delta=made.delta,
            confidence=confidence,
        )
        for source in SOURCES
    )
    return OneRun(
        canaries=len(made.inside),
        inside=int(made.inside.sum()),
        delta=made.delta,
        confidence=confidence,
        bounds=tuple(bound for bound in bounds if bound is not None),
        stated_epsilon=made.stated_epsilon,
        stated_reason=made.stated_reason,
        seconds=made.seconds,
        reason=made.reason,
    )


ATTACKS = (OneRunAttack(),)
