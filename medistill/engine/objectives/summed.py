"""Summed: objectives whose losses and gradients add up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from medistill.engine.coordinates import Coordinate, Values
from medistill.engine.images import Images
from medistill.engine.objectives.base import Evaluation, Objective


@dataclass(frozen=True)
class Summed(Objective[tuple[Any, ...]]):
    """The sum of objectives that need no check.

    Attributes:
        parts: of which no two learn something by the same name.
    """

    parts: tuple[Objective[Any], ...]

    def coordinates(self) -> dict[str, Coordinate]:
        """Return what they learn."""
        return {name: one for part in self.parts for name, one in part.coordinates().items()}

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> tuple[Any, ...]:
        """Draw for each."""
        return tuple(part.draw(iteration, shown) for part in self.parts)

    def evaluate(self, images: Images, learned: Values, drawn: tuple[Any, ...], micro_batch: int) -> Evaluation:
        """Return the sums."""
        parts = zip(self.parts, drawn, strict=True)
        return added((1.0, part.evaluate(images, learned, one, micro_batch)) for part, one in parts)

    def batch_size(self, shown: int) -> int:
        """Return the largest of theirs."""
        return max(part.batch_size(shown) for part in self.parts)

    def step_figures(self, learned: Values) -> dict[str, float]:
        """Return those of all."""
        return {name: one for part in self.parts for name, one in part.step_figures(learned).items()}


def added(weighed: Iterable[tuple[float, Evaluation]]) -> Evaluation:
    """Return the sum of evaluations, each times its weight; what is learned beside the images is none of it weighed."""
    given = [(weight, one) for weight, one in weighed]
    return Evaluation(
        loss=sum(weight * one.loss for weight, one in given),
        grad_images=torch.stack([weight * one.grad_images for weight, one in given]).sum(dim=0),
        grad_labels=torch.stack([weight * one.grad_labels for weight, one in given]).sum(dim=0),
        grad_learned={name: gradient for _, one in given for name, gradient in one.grad_learned.items()},
        usable=all(one.usable for _, one in given),
    )
