"""DCC: dc with gradients summed over the classes first, no experts."""

from __future__ import annotations

from typing import ClassVar, Literal

from medistill.methods.comparing.gradients import LOOPED, GradientFamily
from medistill.recipe.gradients import LoopedGradientRecipe


class Settings(LoopedGradientRecipe):
    """DCC: dc with gradients summed over the classes first, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr", "augment", "distance")

    name: Literal["dcc"] = "dcc"


class Dcc(GradientFamily[Settings]):
    """Dataset condensation with contrastive signals (DCC; Lee et al. 2022)."""

    settings_type = Settings
    display_name = "DCC"
    phrase = "gradient matching with contrastive signals (DCC; Lee et al. 2022)"
    citation = (
        "Lee et al. 2022",
        "Lee S, Chun S, Jung S, Yun S, Yoon S. Dataset condensation with contrastive signals. ICML 2022. "
        "arXiv:2202.02916.",
    )
    summed = True
    steps = (
        "In each outer step ({iterations} in all) a network was shown the distilled images and up to {batch_real} "
        "originals of each class; the distilled images were then changed so that the gradient of their cross-entropy "
        "in the network's weights, summed over the classes, came closer to that of the originals. "
    ) + LOOPED


METHOD = Dcc()
