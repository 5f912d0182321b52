"""DSA: dc with originals and images augmented alike, no experts."""

from __future__ import annotations

from typing import ClassVar, Literal

from medistill.methods.comparing.gradients import COMPARED, LOOPED, GradientFamily
from medistill.recipe.gradients import LoopedGradientRecipe
from medistill.recipe.outer_loop import Init


class Settings(LoopedGradientRecipe):
    """DSA: dc with originals and images augmented alike, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr", "augment", "distance")

    name: Literal["dsa"] = "dsa"
    init: Init = "real"
    augment: bool = True


class Dsa(GradientFamily[Settings]):
    """Differentiable siamese augmentation (DSA; Zhao and Bilen 2021)."""

    settings_type = Settings
    display_name = "DSA"
    phrase = "gradient matching under siamese augmentation (DSA; Zhao and Bilen 2021)"
    citation = (
        "Zhao and Bilen 2021",
        "Zhao B, Bilen H. Dataset condensation with differentiable siamese augmentation. ICML 2021. arXiv:2102.08259.",
    )
    steps = f"{COMPARED} Both were augmented alike. {LOOPED}"


METHOD = Dsa()
