"""A segment: a piece of an expert's trajectory, and the student steps that can be walked forward and back again."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from medistill.training.augmentation import Draw


@dataclass(frozen=True)
class Segment:
    """One piece of an expert's trajectory and the student steps that have to match it.

    Attributes:
        start: theta_i of the expert.
        target: theta_{i+K} of the expert.
        batches: J row vectors into the distilled images.
        draws: J augmentation draws.
    """

    start: Float[Tensor, " P"]
    target: Float[Tensor, " P"]
    batches: list[Int[Tensor, " B"]]
    draws: list[Draw]
