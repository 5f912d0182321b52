"""Person search: whether an image holds one person's own detail, by its likeness to every patient of both splits.

The distance to the nearest training patient in units of that to the nearest held-out one tells how much of a copy it
is, and the evidence (`medistill.privacy.exchange`) how sure that is. A copy is what passes both limits.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from medistill.privacy.attack import Evidence
from medistill.privacy.audit import CopyRule
from medistill.privacy.copy_search import CopyAttack, copy_figures
from medistill.privacy.exchange import exchanged, thresholds
from medistill.privacy.signals import Signals

if TYPE_CHECKING:
    from medistill.privacy.likeness import Originals, Way

FALSE_ALARMS = 0.05
"""Rate at which all searches of this kind together call an image a copy where the set holds nobody."""
SEARCHES = 6
"""Those that share it: the attacks ``copies_in_`` detail, grey curves, blur, other poses, parts and mixtures."""
CONTROLS = 10
"""Images of each control that are searched at most."""


class PersonSearch(CopyAttack):
    """A search by likeness to people; what derives from it says how alike images are, and all else follows."""

    @abstractmethod
    def ways(self, originals: Originals) -> tuple[Way, ...]:
        """The ways in which images are held against the originals: (q, C, H, W) at the working size -> (q, N)."""

    def limit(self, copy_ratio: float) -> float:
        """Ratio of distances of a copy at most: half of what sets an image apart from strangers is one person's."""
        return float(np.sqrt(copy_ratio))

    def run(self, signals: Signals) -> Evidence:
        """What is a copy among the distilled images, and among some of each control."""
        from medistill.privacy.likeness import likenesses

        search = signals.search
        originals = search.originals
        if not originals.enough:
            return Evidence()
        ways = self.ways(originals)
        subjects = (search.subjects[0], *(one.first(CONTROLS) for one in search.subjects[1:]))
        found = [likenesses(subject, originals, ways) for subject in subjects]
        by_chance = exchanged(found[0].held_out, signals.rng("audit", "exchange", self.name))
        asked, limit = thresholds(by_chance, FALSE_ALARMS / SEARCHES), self.limit(search.copy_ratio)
        figures = tuple(
            copy_figures(subject, self.space, *one.judged(asked, limit), search)
            for subject, one in zip(subjects, found, strict=True)
        )
        rule = CopyRule(self.space, limit, originals.strangers, FALSE_ALARMS / SEARCHES)
        return Evidence(rules=(rule,), copies=figures)
