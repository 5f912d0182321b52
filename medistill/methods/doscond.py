"""DosCond: gradients of fresh networks matched in one step, no experts."""

from __future__ import annotations

from typing import ClassVar, Literal

from medistill.methods.comparing.gradients import COMPARED, GradientFamily
from medistill.recipe.gradients import GradientRecipe


class Settings(GradientRecipe):
    """DosCond: gradients of fresh networks matched in one step, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr", "augment", "distance")

    name: Literal["doscond"] = "doscond"


class DosCond(GradientFamily[Settings]):
    """One-step gradient matching (DosCond; Jin et al. 2022), of images; graphs are not here."""

    settings_type = Settings
    display_name = "DosCond"
    phrase = "one-step gradient matching (DosCond; Jin et al. 2022)"
    citation = (
        "Jin et al. 2022",
        "Jin W, Tang X, Jiang H, Li Z, Zhang D, Tang J, Yin B. Condensing graphs via one-step gradient matching. "
        "KDD 2022. arXiv:2206.07746.",
    )
    steps = f"{COMPARED} Every outer step took a network with fresh random parameters, and none was trained."


METHOD = DosCond()
