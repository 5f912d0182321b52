"""ATT: mtt at the step that comes closest."""

from __future__ import annotations

from typing import ClassVar, Literal

from medistill.methods.matching.method import TrajectoryMatching
from medistill.recipe.matching import MatchingRecipe, OfLength


class Settings(OfLength, MatchingRecipe):
    """ATT: mtt at the step that comes closest."""

    OWN: ClassVar[tuple[str, ...]] = ("closest",)

    name: Literal["att"] = "att"
    closest: Literal["off", "l1", "l2"] = "l1"


class Att(TrajectoryMatching[Settings]):
    """Automatic training trajectories (ATT; Liu et al. 2024)."""

    settings_type = Settings
    display_name = "ATT"
    phrase = "automatic training trajectories (ATT; Liu et al. 2024)"
    citation = (
        "Liu et al. 2024",
        "Liu D, Gu J, Cao H, Trinitis C, Schulz M. Dataset distillation by automatic training trajectories. ECCV 2024. "
        "arXiv:2407.14245.",
    )


METHOD = Att()
