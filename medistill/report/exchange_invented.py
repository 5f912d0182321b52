"""Invented hospitals in a study of exchange: what was done to the images of each, and that nobody works there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medistill.report.wording import difference, listed, number

INVENTED = "invented hospital"
"""What the name of each begins with, so that no table or figure can show one without saying it."""


@dataclass(frozen=True)
class InventedHospital:
    """A hospital that does not exist: some patients of a real one, with another grey curve.

    Attributes:
        name: "invented hospital 1" and so on.
        gamma: exponent of its grey curve; below 1 is brighter.
        level: grey that is added then, as a share of full scale.
        equalised: the histogram of every image is equalised in place of a curve.
    """

    name: str
    gamma: float = 1.0
    level: float = 0.0
    equalised: bool = False

    @property
    def curve(self) -> str:
        """What was done to its images, in words."""
        if self.equalised:
            return "every histogram equalised"
        return f"grey to the power {number(self.gamma, 2)}, then {difference(self.level, 2)} of full scale"


def invented_sentence(hospitals: Sequence[InventedHospital]) -> str:
    """What was invented, and what it cannot show; empty where nothing was."""
    if not hospitals:
        return ""
    curves = listed([f"{one.name} ({one.curve})" for one in hospitals])
    return (
        f"The hospitals are invented: the patients of one site were divided among {curves}. They differ in the look of "
        "their images alone, and in nothing that their patients, devices or findings differ in elsewhere: what the "
        "figures say of shifted exposure, they do not say of real hospitals."
    )
