"""HoP-TM: mtt of what is easy first, and of the shape of walks."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from medistill.methods.matching.method import TrajectoryMatching
from medistill.recipe.importance import KeptRecipe
from medistill.recipe.matching import EasyFirst, MatchingRecipe, Shaped


class Kept(KeptRecipe):
    """Parameters that join a match once a student has come close to an expert in them, and stay."""

    threshold: Annotated[float, Field(ge=0)] = 1e-10


class Settings(EasyFirst, Shaped, MatchingRecipe):
    """HoP-TM: mtt of what is easy first, and of the shape of walks."""

    OWN: ClassVar[tuple[str, ...]] = ("kept.threshold", "shape")

    name: Literal["hop-tm"] = "hop-tm"
    kept: Kept = Kept()
    shape: Annotated[float, Field(ge=0)] = 1.0


class HopTm(TrajectoryMatching[Settings]):
    """High-order progressive trajectory matching (HoP-TM; Dong et al. 2025)."""

    settings_type = Settings
    display_name = "HoP-TM"
    phrase = "high-order progressive trajectory matching (HoP-TM; Dong et al. 2025)"
    citation = (
        "Dong et al. 2025",
        "Dong L, Bian J, Hou J, Hu J, Shi Y, Dong W, Zhu XX, Mou L. High-order progressive trajectory matching for "
        "medical image dataset distillation. MICCAI 2025. arXiv:2509.24177.",
    )


METHOD = HopTm()
