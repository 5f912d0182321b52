"""MTT: trajectories matched, W = 1."""

from __future__ import annotations

from typing import Literal

from medistill.methods.matching.method import TrajectoryMatching
from medistill.recipe.matching import MatchingRecipe


class Settings(MatchingRecipe):
    """MTT: trajectories matched, W = 1."""

    name: Literal["mtt"] = "mtt"


class Mtt(TrajectoryMatching[Settings]):
    """Matching of training trajectories (MTT; Cazenavette et al. 2022)."""

    settings_type = Settings
    display_name = "MTT"
    phrase = "matching of training trajectories (MTT; Cazenavette et al. 2022)"
    citation = (
        "Cazenavette et al. 2022",
        "Cazenavette G, Wang T, Torralba A, Efros AA, Zhu JY. Dataset distillation by matching training trajectories. "
        "CVPR 2022. arXiv:2203.11932.",
    )


METHOD = Mtt()
