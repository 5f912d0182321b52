"""SATM: mtt with sharpness-aware outer steps."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from medistill.methods.matching.method import TrajectoryMatching
from medistill.recipe.matching import MatchingRecipe
from medistill.recipe.outer_loop import SharpSteps


class Settings(SharpSteps, MatchingRecipe):
    """SATM: mtt with sharpness-aware outer steps."""

    OWN: ClassVar[tuple[str, ...]] = ("sharpness",)

    name: Literal["satm"] = "satm"
    sharpness: Annotated[float, Field(ge=0)] = 0.05


class Satm(TrajectoryMatching[Settings]):
    """Sharpness-aware trajectory matching (SATM; Gao et al. 2025)."""

    settings_type = Settings
    display_name = "SATM"
    phrase = "sharpness-aware trajectory matching (SATM; Gao et al. 2025)"
    citation = (
        "Gao et al. 2025",
        "Gao B, et al. Enhancing generalization via sharpness-aware trajectory matching for dataset condensation. "
        "2025. arXiv:2502.01865.",
    )


METHOD = Satm()
