"""PDD: mtt in stages, each with more images."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from medistill.methods.matching.method import TrajectoryMatching
from medistill.recipe.matching import MatchingRecipe, StageExperts
from medistill.recipe.outer_loop import Staged
from medistill.recipe.section import AtMost, Count


class Settings(Staged, StageExperts, MatchingRecipe):
    """PDD: mtt in stages, each with more images."""

    OWN: ClassVar[tuple[str, ...]] = ("stages",)

    name: Literal["pdd"] = "pdd"
    stages: Annotated[Count, AtMost(100)] = 5

    @property
    def at_rest(self) -> tuple[str, ...]:
        return (*super().at_rest, *([] if self.new_experts else ["new_experts", "former_epochs"]))


class Pdd(TrajectoryMatching[Settings]):
    """Progressive dataset distillation (PDD; Chen et al. 2024)."""

    settings_type = Settings
    display_name = "PDD"
    phrase = "progressive dataset distillation (PDD; Chen et al. 2024)"
    citation = (
        "Chen et al. 2024",
        "Chen X, Yang Y, Wang Z, Mirzasoleiman B. Data distillation can be like vodka: distilling more times for "
        "better quality. ICLR 2024. arXiv:2310.06982.",
    )


METHOD = Pdd()
