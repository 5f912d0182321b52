"""RaT-BPTT: unrolled, a window at random of each student's walk differentiated."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from medistill.methods.unrolling.method import UnrolledLoss
from medistill.recipe.section import AtMost, Count
from medistill.recipe.unrolling import PublishedWalk, WindowedLoss


class Settings(PublishedWalk, WindowedLoss):
    """RaT-BPTT: unrolled, a window at random of each student's walk differentiated.

    Defaults are those of the published command for CIFAR-10 at 10 images a class, but for the number of outer steps.
    """

    OWN: ClassVar[tuple[str, ...]] = (
        "window", "student_steps", "inner", "student_lr", "student_lr_lr", "image_lr", "labels", "label_lr",
        "decay", "batch_real", "noise_norm",
    )  # fmt: skip

    name: Literal["rat-bptt"] = "rat-bptt"
    window: Annotated[Count, AtMost(10_000)] = 60


class RatBptt(UnrolledLoss[Settings]):
    """Random truncated backpropagation through time (RaT-BPTT; Feng, Vedantam, Kempe 2024)."""

    settings_type = Settings
    display_name = "RaT-BPTT"
    phrase = "random truncated backpropagation through time (RaT-BPTT; Feng et al. 2024)"
    citation = (
        "Feng et al. 2024",
        "Feng Y, Vedantam R, Kempe J. Embarrassingly simple dataset distillation. ICLR 2024. arXiv:2311.07025.",
    )
    window_words = (
        "The loss was taken after a random number of steps, and carried back through the {window} steps before it."
    )


METHOD = RatBptt()
