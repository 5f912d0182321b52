"""Student steps that can be walked forward and back again, and the segment of an expert that they have to match."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from medistill.training.augmentation import Draw


@dataclass(frozen=True)
class StudentSteps:
    """What each of a student's steps trains on.

    Attributes:
        batches: J row vectors into the distilled images.
        draws: J augmentation draws.
    """

    batches: list[Int[Tensor, " B"]]
    draws: list[Draw]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, steps: slice) -> StudentSteps:
        """Return some of them."""
        return StudentSteps(self.batches[steps], self.draws[steps])


@dataclass(frozen=True)
class Segment:
    """One piece of an expert's trajectory and the student steps that have to match it.

    Attributes:
        start: theta_i of the expert.
        target: theta_{i+K} of the expert.
        steps: the J student steps.
        middle: theta_{i+K//2} of the expert, where the shape of its walk is matched.
    """

    start: Float[Tensor, " P"]
    target: Float[Tensor, " P"]
    steps: StudentSteps
    middle: Float[Tensor, " P"] | None = None
