"""BPTT: unrolled, the whole walk of each student differentiated."""

from __future__ import annotations

from typing import ClassVar, Literal

from medistill.methods.unrolling.method import UnrolledLoss
from medistill.recipe.unrolling import WalkRecipe


class Settings(WalkRecipe):
    """BPTT: unrolled, the whole walk of each student differentiated."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr", "labels", "label_lr", "student_lr", "student_lr_lr")

    name: Literal["bptt"] = "bptt"


class Bptt(UnrolledLoss[Settings]):
    """Backpropagation through all of the time (Wang et al. 2018): every loss is taken after the same T steps."""

    settings_type = Settings
    display_name = "BPTT"
    phrase = "backpropagation through the whole training (BPTT; Wang et al. 2018)"
    citation = (
        "Wang et al. 2018",
        "Wang T, Zhu JY, Torralba A, Efros AA. Dataset distillation. 2018. arXiv:1811.10959.",
    )
    window_words = "The loss was taken after all of them, and carried back through each."


METHOD = Bptt()
