"""Real patches: whether the images are parts of originals themselves, which nobody has to look for."""

from __future__ import annotations

from medistill.privacy.attack import Attack, Evidence
from medistill.privacy.criterion import Asked, Criterion
from medistill.privacy.signals import SetFacts, Signals
from medistill.recipe import AuditRecipe

PASTED = Asked("pasted", "at most", "share")
"""Images that are pasted together from originals."""
NAME, WHY = "Images pasted together from originals", "they are unchanged parts of real training images"
NONE_MAY_BE = 0.0
"""No setting lets such a set pass: it leaves by `medistill share --acknowledge-risk`, with a reason, or not at all."""


class RealPatches(Attack):
    """Of a set that says so there is nothing to find out: every pixel of it is somebody's."""

    name, display_name, family = "real patches", "real patches", "copies"
    needs, rank = "set", 5
    plain_words = "Parts of real pictures, pasted together"
    asks = (PASTED,)

    def applies(self, facts: SetFacts) -> bool:
        """To a set that was pasted."""
        return facts.initialisation == "patches"

    def run(self, signals: Signals) -> Evidence:
        """Nothing is compared."""
        return Evidence()

    def judge(self, evidence: Evidence, facts: SetFacts, settings: AuditRecipe) -> tuple[Criterion, ...]:
        """It fails, whatever the searches for copies find."""
        return self.skipped(settings)

    def skipped(self, settings: AuditRecipe) -> tuple[Criterion, ...]:
        """The same where it was left out: that changes nothing about the images."""
        return (Criterion(NAME, 1.0, NONE_MAY_BE, "fail", WHY, PASTED),)


ATTACKS = (RealPatches(),)
