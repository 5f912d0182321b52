"""DATM: mtt with soft labels, early epochs first."""

from __future__ import annotations

from typing import ClassVar, Literal

from medistill.methods.matching.method import TrajectoryMatching
from medistill.recipe.matching import GrowingStart, MatchingRecipe
from medistill.recipe.outer_loop import LearnedLabels
from medistill.recipe.section import Fraction


class Settings(LearnedLabels, GrowingStart, MatchingRecipe):
    """DATM: mtt with soft labels, early epochs first."""

    OWN: ClassVar[tuple[str, ...]] = ("labels", "start_growth")

    name: Literal["datm"] = "datm"
    labels: Literal["hard", "soft"] = "soft"
    start_growth: Fraction = 0.5


class Datm(TrajectoryMatching[Settings]):
    """Difficulty-aligned trajectory matching (DATM; Guo et al. 2024)."""

    settings_type = Settings
    display_name = "DATM"
    phrase = "difficulty-aligned trajectory matching (DATM; Guo et al. 2024)"
    citation = (
        "Guo et al. 2024",
        "Guo Z, et al. Towards lossless dataset distillation via difficulty-aligned trajectory matching. ICLR 2024. "
        "arXiv:2310.05773.",
    )


METHOD = Datm()
