"""PP: mtt without parameters hard to match."""

from __future__ import annotations

from typing import ClassVar, Literal

from medistill.methods.matching.method import TrajectoryMatching
from medistill.recipe.importance import MaskRecipe
from medistill.recipe.matching import Masked, MatchingRecipe


class Mask(MaskRecipe):
    """Parameters that a match leaves out: those that student and expert do not share."""

    rule: Literal["none", "unlike", "easy", "hard"] = "unlike"


class Settings(Masked, MatchingRecipe):
    """PP: mtt without parameters hard to match."""

    OWN: ClassVar[tuple[str, ...]] = ("mask.rule",)

    name: Literal["pp"] = "pp"
    mask: Mask = Mask()


class Pp(TrajectoryMatching[Settings]):
    """Trajectory matching with parameter pruning (PP; Li et al. 2022)."""

    settings_type = Settings
    display_name = "PP"
    phrase = "trajectory matching with parameter pruning (PP; Li et al. 2022)"
    citation = (
        "Li et al. 2022",
        "Li G, Togo R, Ogawa T, Haseyama M. Dataset distillation using parameter pruning. 2022. arXiv:2209.14609.",
    )


METHOD = Pp()
