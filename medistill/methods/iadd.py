"""IADD: trajectories matched under learned W."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from medistill.methods.base import Facts
from medistill.methods.matching.method import TrajectoryMatching
from medistill.methods.mtt import METHOD as MTT
from medistill.recipe.matching import GrowingStart, Guided, Masked, MatchingRecipe, Weighed
from medistill.recipe.outer_loop import LearnedLabels


class Settings(LearnedLabels, GrowingStart, Masked, Weighed, Guided, MatchingRecipe):
    """IADD: trajectories matched under learned W."""

    OWN: ClassVar[tuple[str, ...]] = ("importance.direction",)

    name: Literal["iadd"] = "iadd"


class Iadd(TrajectoryMatching[Settings]):
    """Importance-aware adaptive dataset distillation (IADD; Li et al. 2024)."""

    settings_type = Settings
    display_name = "IADD"
    phrase = "importance-aware adaptive dataset distillation (IADD; Li et al. 2024)"
    citation = (
        "Li et al. 2024",
        "Li G, Togo R, Ogawa T, Haseyama M. Importance-aware adaptive dataset distillation. Neural Networks 2024;172. "
        "arXiv:2401.15863.",
    )

    def facts(self, settings: Settings | None = None) -> Facts:
        """What is said of it: with W frozen it is MTT; the loss on originals may count beside."""
        facts = super().facts(settings)
        if settings is None:
            return facts
        if settings.importance.direction == "frozen":
            facts = MTT.facts()
        if settings.real.counts:
            facts = replace(facts, loss=f"{facts.loss} And its loss on originals, by their shares.")
        return facts


METHOD = Iadd()
