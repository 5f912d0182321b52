"""Coordinates: the named tensors that the outer loop moves, each with the rule by which it moves and its range."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from medistill.training.sgd import accumulate_

Values = Mapping[str, Tensor]
"""A tensor for each coordinate, by its name."""
Moments = dict[str, Tensor]
"""What an optimiser remembers of a coordinate, by the name of the moment."""


class UpdateRule(Protocol):
    """How a coordinate moves along its gradient; what it depends on besides are its moments."""

    def moments(self, value: Tensor) -> Moments:
        """Return the moments before the first step."""
        ...

    def update(self, value: Tensor, gradient: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        """Return the coordinate and its moments after a step; what is given stays as it was."""
        ...


@dataclass(frozen=True)
class MomentumSGD:
    """SGD with momentum.

    Attributes:
        lr: learning rate.
        momentum: share of the velocity that stays.
        largest_step: bound on the change of every element in one step; None bounds nothing.
    """

    lr: float
    momentum: float
    largest_step: float | None = None

    def moments(self, value: Tensor) -> Moments:
        """Return a velocity of zero."""
        return {"velocity": torch.zeros_like(value)}

    def update(self, value: Tensor, gradient: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        """Return the coordinate and its velocity after a step."""
        velocity = accumulate_(moments["velocity"].clone(), gradient, self.momentum)
        step = self.lr * velocity
        if self.largest_step is not None:
            step = step.clamp(-self.largest_step, self.largest_step)
        return value - step, {"velocity": velocity}


@dataclass(frozen=True)
class Range:
    """How far a coordinate may go before the distillation counts as diverged.

    Attributes:
        setting: the setting of the method to lower where it leaves its range.
        measure: how far it has gone.
        limit: how far that may be.
        sentence: says it in the error, with a place for the measure.
        growth: times its size at the start; None where its growth is not to blame for a loss that is not finite.
    """

    setting: str
    measure: Callable[[Tensor], float]
    limit: float
    sentence: str
    growth: Callable[[Tensor], float] | None = None


@dataclass(frozen=True)
class Coordinate:
    """One thing that is optimised.

    Attributes:
        start: its value before the first step.
        rule: how it moves.
        range: where it has to stay; None lets it go anywhere.
        per_image: it has a row for each distilled image: only the rows of a stage's images move in that stage, and at
            the stage's end they are put back to its best validation score, for good.
        averaged: the set is made of its moving average; for one with rows alone.
    """

    start: Tensor
    rule: UpdateRule
    range: Range | None = None
    per_image: bool = False
    averaged: bool = False


def largest_magnitude(values: Tensor) -> float:
    """Return the largest magnitude of any element, the measure of most ranges."""
    return float(torch.linalg.vector_norm(values, ord=math.inf))
