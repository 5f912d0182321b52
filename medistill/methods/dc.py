"""DC: gradients of a network that trains on the images matched, no experts."""

from __future__ import annotations

from typing import ClassVar, Literal

from medistill.methods.comparing.gradients import COMPARED, LOOPED, GradientFamily
from medistill.recipe.gradients import LoopedGradientRecipe


class Settings(LoopedGradientRecipe):
    """DC: gradients of a network that trains on the images matched, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr", "augment", "distance")

    name: Literal["dc"] = "dc"


class Dc(GradientFamily[Settings]):
    """Dataset condensation with gradient matching (DC; Zhao, Mopuri and Bilen 2021)."""

    settings_type = Settings
    display_name = "DC"
    phrase = "gradient matching (DC; Zhao, Mopuri and Bilen 2021)"
    citation = (
        "Zhao, Mopuri and Bilen 2021",
        "Zhao B, Mopuri KR, Bilen H. Dataset condensation with gradient matching. ICLR 2021. arXiv:2006.05929.",
    )
    steps = f"{COMPARED} {LOOPED}"


METHOD = Dc()
