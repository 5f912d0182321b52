"""The socket of an objective: what an outer step draws, and the loss at given images with its gradients."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.engine.coordinates import Coordinate, Values
from medistill.engine.images import Images
from medistill.engine.memory import MemoryNeed
from medistill.progress import Progress
from medistill.training.device import Precision, sent

Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class Evaluation:
    """The outer loss at given images, with its gradients.

    Attributes:
        loss: L.
        grad_images: dL/dX.
        grad_labels: dL/dY, in the labels' probabilities.
        grad_learned: the gradient in each coordinate of the objective's own, by its name.
        usable: whether the step may be taken. One that may not is skipped: of the coordinates those alone move that
            are taken over from the objective (`medistill.engine.coordinates.TakenOver`). An objective that leaves this
            alone has a loss that is not finite refused.
    """

    loss: float
    grad_images: Float[Tensor, "N C H W"]
    grad_labels: Float[Tensor, "N classes"]
    grad_learned: Mapping[str, Tensor]
    usable: bool = True

    @property
    def finite(self) -> bool:
        """Whether loss and gradients are finite, and the squares of these too, which optimisers take."""
        gradients = (self.grad_images, self.grad_labels, *self.grad_learned.values())
        found = [sent(torch.isfinite(one.square().sum()), self.grad_images.device) for one in gradients]
        return math.isfinite(self.loss) and bool(torch.stack(found).all())


class Objective(ABC, Generic[Drawn]):
    """A loss of the distilled images. Those with nothing to learn or to check write `draw` and `evaluate` alone.

    Attributes:
        unstable: the setting to lower where the loss leaves the finite numbers although nothing grew.
        unstable_students: the setting to lower where too many outer steps were skipped, their students having left the
            finite numbers.
        memory: what its steps need memory for.
        sees_pixels: whether it is of pixels whatever the network is; else it is of what the network takes, which of a
            probe are features.
    """

    unstable: str = "image_lr"
    unstable_students: str = "student_lr"
    memory: MemoryNeed = MemoryNeed()
    sees_pixels: bool = False

    @abstractmethod
    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> Drawn:
        """Draw what an outer step compares with; it depends on the seed, the iteration and ``shown`` alone.

        Args:
            iteration: finished outer steps.
            shown: rows of the distilled images that take part.
        """

    @abstractmethod
    def evaluate(self, images: Images, learned: Values, drawn: Drawn, micro_batch: int) -> Evaluation:
        """Return the loss and its gradients, which are 0 for images that do not take part.

        Args:
            images: all distilled images.
            learned: the coordinates of the run, the objective's own among them.
            drawn: as `draw` gave it; an outer step may ask twice with the same.
            micro_batch: images that pass a network at once.
        """

    def coordinates(self) -> dict[str, Coordinate]:
        """Return what the objective learns itself."""
        return {}

    def check(self, images: Images, drawn: Drawn, micro_batch: int, precision: Precision, progress: Progress) -> None:
        """Refuse a way of computing the gradients that is wrong here, before the first step is taken with it.

        Raises:
            WrongDerivativeError: it is wrong.
        """

    def batch_size(self, shown: int) -> int:
        """Return how many of the ``shown`` images pass a network in one step of it."""
        return shown

    def step_figures(self, learned: Values) -> dict[str, float]:
        """Return what the history keeps after each outer step beside the loss."""
        return {}

    def validation_figures(self, learned: Values) -> dict[str, list[float]]:
        """Return what the history keeps at each validation score."""
        return {}

    def progress_figures(self, learned: Values) -> str:
        """Return what is said after each outer step beside the loss; empty says nothing."""
        return ""
