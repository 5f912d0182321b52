"""Unrolled: the loss on originals of students trained on the images, no experts."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from medistill.methods.unrolling.method import UnrolledLoss
from medistill.recipe.section import AtMost, Count, CountOrNone, Fraction, Positive
from medistill.recipe.unrolling import UnrolledRecipe


class Settings(UnrolledRecipe):
    """Unrolled: the loss on originals of students trained on the images, no experts."""

    OWN: ClassVar[tuple[str, ...]] = (
        "student_steps", "window", "pool", "augment_real", "image_lr", "ema", "labels", "label_lr", "student_lr",
        "student_lr_lr",
    )  # fmt: skip

    name: Literal["unrolled"] = "unrolled"
    student_steps: Annotated[Count, AtMost(10_000)] = 200
    window: Annotated[Count, AtMost(10_000)] = 15
    pool: Annotated[CountOrNone, AtMost(1000)] = 8
    augment_real: bool = False
    image_lr: Positive = 0.01
    ema: Fraction = 0.98
    labels: Literal["hard", "soft"] = "soft"
    label_lr: Annotated[float, Field(ge=0)] = 0.01


class Unrolled(UnrolledLoss[Settings]):
    """The real loss, unrolled with its exact gradient."""

    settings_type = Settings
    display_name = "Unrolled"
    phrase = "the unrolled loss on originals (after RaT-BPTT; Feng et al. 2024)"
    citation = (
        "Feng et al. 2024",
        "Feng Y, Vedantam R, Kempe J. Embarrassingly simple dataset distillation. ICLR 2024. arXiv:2311.07025.",
    )
    window_words = "The loss was carried back through the last {window} steps."


METHOD = Unrolled()
