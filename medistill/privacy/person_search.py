"""Person search: whether an image holds one person's own detail, by its likeness to every patient of both splits.

The distance to the nearest training patient in units of that to the nearest held-out one tells how much of a copy it
is, and the evidence (`medistill.privacy.exchange`) how sure that is. A copy is what passes both limits.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from medistill.privacy.attack import Evidence
from medistill.privacy.audit import CopyRule
from medistill.privacy.copy_search import COPIES, CopyAttack, copy_figures
from medistill.privacy.criterion import Criterion
from medistill.privacy.exchange import LEAST_PEOPLE, exchanged, thresholds
from medistill.privacy.signals import SetFacts, Signals
from medistill.recipe import AuditRecipe

if TYPE_CHECKING:
    from medistill.privacy.copy_search import AuditSubject, CopySignals
    from medistill.privacy.likeness import Likenesses, Originals, Way

FALSE_ALARMS = 0.05
"""Rate at which all searches of this kind together call an image a copy where the set holds nobody."""
CONTROLS = 10
"""Images of each control that are searched at most."""
TOO_FEW = f"chance is told by {LEAST_PEOPLE} held-out patients or more, none of whom has a training image"
NOT_SEARCHED = (
    f"Copies that are turned, shifted, zoomed, blurred, cut into parts, mixed or bent by a grey curve were not looked "
    f"for: {TOO_FEW}."
)
"""What an audit says in place of these searches."""


def rate_of_each() -> float:
    """Rate of false alarms of one search: all that there are share `FALSE_ALARMS` evenly."""
    from medistill.privacy.attack_registry import all_attacks

    return FALSE_ALARMS / sum(isinstance(attack, PersonSearch) for attack in all_attacks())


class PersonSearch(CopyAttack):
    """A search for people; what derives from it says how alike images are to them, and all else follows."""

    why_blind = "with so few held-out patients no image is sure enough, however like a training image it is"

    @abstractmethod
    def likenesses(self, subjects: Sequence[AuditSubject], search: CopySignals) -> list[Likenesses]:
        """How alike the images of each subject are to every patient of both splits."""

    def limit(self, copy_ratio: float) -> float:
        """Ratio of distances of a copy at most: half of what sets an image apart from strangers is one person's."""
        return float(np.sqrt(copy_ratio))

    def judge(self, evidence: Evidence, facts: SetFacts, settings: AuditRecipe) -> tuple[Criterion, ...]:
        """That it was not made is no pass."""
        if evidence.rules:
            return super().judge(evidence, facts, settings)
        name, most = f"Copies in {self.display_name}", COPIES.threshold(settings)
        return (Criterion(name, None, most, "not enough evidence", TOO_FEW, COPIES),)

    def leaves_open(self, evidence: Evidence | None) -> str:
        """That it was not made, where there were too few people to tell chance by."""
        return "" if evidence is None or evidence.copies else NOT_SEARCHED

    def run(self, signals: Signals) -> Evidence:
        """What is a copy among the distilled images, and among some of each control."""
        search, level = signals.search, rate_of_each()
        if not search.originals.enough:
            return Evidence()
        subjects = (search.subjects[0], *(one.first(CONTROLS) for one in search.subjects[1:]))
        found = self.likenesses(subjects, search)
        by_chance = exchanged(found[0].held_out, level, signals.rng("audit", "exchange", self.name))
        asked, limit = thresholds(by_chance, level), self.limit(search.copy_ratio)
        figures = tuple(
            copy_figures(subject, self.space, *one.judged(asked, level, limit), search)
            for subject, one in zip(subjects, found, strict=True)
        )
        blind = not found[0].of_copies(int(search.originals.of_train.sum())).sure(asked, level).any()
        rule = CopyRule(self.space, limit, search.originals.strangers, level, blind)
        return Evidence(rules=(rule,), copies=figures)


class WaysSearch(PersonSearch):
    """A search for people that holds images against originals as they are, in one or more ways."""

    @abstractmethod
    def ways(self, originals: Originals) -> tuple[Way, ...]:
        """The ways: images (q, C, H, W) at the working size -> (q, N)."""

    def likenesses(self, subjects: Sequence[AuditSubject], search: CopySignals) -> list[Likenesses]:
        """The likeness of each image to each original in each of the ways."""
        from medistill.privacy.likeness import likenesses

        ways = self.ways(search.originals)
        return [likenesses(subject, search.originals, ways) for subject in subjects]
