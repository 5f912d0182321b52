"""FTD: mtt with experts trained to flat minima."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from medistill.methods.matching.method import TrajectoryMatching
from medistill.recipe.experts import FlatExpertsRecipe
from medistill.recipe.matching import MatchingRecipe
from medistill.recipe.section import Fraction


class Experts(FlatExpertsRecipe):
    """Training trajectories on the raw training split, towards flat minima."""

    sharpness: Annotated[float, Field(ge=0)] = 0.01
    surrogate_gap: Annotated[float, Field(ge=0)] = 1.0


class Settings(MatchingRecipe):
    """FTD: mtt with experts trained to flat minima."""

    OWN: ClassVar[tuple[str, ...]] = ("experts.sharpness", "experts.surrogate_gap", "ema")

    name: Literal["ftd"] = "ftd"
    experts: Experts = Experts()
    ema: Fraction = 0.999


class Ftd(TrajectoryMatching[Settings]):
    """Matching of flat trajectories (FTD; Du et al. 2023)."""

    settings_type = Settings
    display_name = "FTD"
    phrase = "matching of flat trajectories (FTD; Du et al. 2023)"
    citation = (
        "Du et al. 2023",
        "Du J, Jiang Y, Tan VYF, Zhou JT, Li H. Minimizing the accumulated trajectory error to improve dataset "
        "distillation. CVPR 2023. arXiv:2211.11004.",
    )


METHOD = Ftd()
