"""Coordinates: the named tensors that the outer loop moves, each with the rule by which it moves and its range."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

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
class Adam:
    """Adam, along gradients whose norm is held near what it was of late.

    The bound is ``clip`` times the running mean of the norms, those before it was applied; the first gradient sets it.

    Attributes:
        lr: learning rate.
        first: share of the running mean of gradients that stays.
        second: of that of their squares.
        eps: added to the root.
        clip: times the running norm that a gradient may have; 0 bounds nothing.
        memory: share of the running norm that stays.
        steps: over which the rate falls to 0; 0 keeps it.
        falling: by half a cosine, or along a line.
    """

    lr: float
    first: float = 0.9
    second: float = 0.999
    eps: float = 1e-8
    clip: float = 0.0
    memory: float = 0.9
    steps: int = 0
    falling: Literal["cosine", "line"] = "cosine"

    def moments(self, value: Tensor) -> Moments:
        """Return zeros."""
        nothing = torch.zeros((), dtype=torch.float64)
        return {
            "mean": torch.zeros_like(value),
            "square": torch.zeros_like(value),
            "count": nothing.clone(),
            "norm": nothing.clone(),
        }

    def update(self, value: Tensor, gradient: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        """Return the coordinate and its moments after a step."""
        count, size = float(moments["count"]) + 1, float(torch.linalg.vector_norm(gradient))
        norm = size if count == 1 else self.memory * float(moments["norm"]) + (1 - self.memory) * size
        if self.clip and size > self.clip * norm:
            gradient = gradient * (self.clip * norm / size)
        mean = self.first * moments["mean"] + (1 - self.first) * gradient
        square = self.second * moments["square"] + (1 - self.second) * gradient.square()
        lr = self._rate(count)
        root = (square / (1 - self.second**count)).sqrt() + self.eps
        return value - lr / (1 - self.first**count) * mean / root, {
            "mean": mean,
            "square": square,
            "count": torch.tensor(count, dtype=torch.float64),
            "norm": torch.tensor(norm, dtype=torch.float64),
        }

    def _rate(self, count: float) -> float:
        """Return the rate of a step, counted from 1."""
        if not self.steps:
            return self.lr
        walked = min(1.0, (count - 1) / self.steps)
        return self.lr * (1 - walked) if self.falling == "line" else self.lr * (1 + math.cos(math.pi * walked)) / 2


@dataclass(frozen=True)
class Waiting:
    """A rule that leaves a coordinate as it is for a while, and begins then.

    Attributes:
        rule: by which it moves afterwards.
        steps: in which it stays.
    """

    rule: UpdateRule
    steps: int

    def moments(self, value: Tensor) -> Moments:
        """Return those of the rule, and how often it waited."""
        return {**self.rule.moments(value), "waited": torch.zeros((), dtype=torch.float64)}

    def update(self, value: Tensor, gradient: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        """Return the coordinate and its moments after a step."""
        waited = moments["waited"]
        if float(waited) < self.steps:
            return value, {**moments, "waited": waited + 1}
        moved, after = self.rule.update(value, gradient, moments)
        return moved, {**after, "waited": waited}


@dataclass(frozen=True)
class InTurn:
    """A rule that moves a coordinate in some steps of the run alone; before and after them it is held still.

    Attributes:
        rule: by which it moves.
        turn: those steps, the first being 0; one that was skipped is not counted.
    """

    rule: UpdateRule
    turn: range

    def moments(self, value: Tensor) -> Moments:
        """Return those of the rule, and the number of the step to come."""
        return {**self.rule.moments(value), "step": torch.zeros((), dtype=torch.float64)}

    def update(self, value: Tensor, gradient: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        """Return the coordinate and its moments after a step."""
        step = moments["step"]
        moved, after = (value, moments)
        if int(step) in self.turn:
            moved, after = self.rule.update(value, gradient, moments)
        return moved, {**after, "step": step + 1}


@dataclass(frozen=True)
class Bounded:
    """A rule after whose steps every element is cut to a range.

    Attributes:
        rule: by which it moves.
        largest: magnitude of an element.
    """

    rule: UpdateRule
    largest: float

    def moments(self, value: Tensor) -> Moments:
        """Return those of the rule."""
        return self.rule.moments(value)

    def update(self, value: Tensor, gradient: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        """Return the coordinate, within its range, and its moments after a step."""
        moved, after = self.rule.update(value, gradient, moments)
        return moved.clamp(-self.largest, self.largest), after


@dataclass(frozen=True)
class TakenOver:
    """No optimiser: the objective gives in place of a gradient what the coordinate is from now on.

    So that what an objective has to remember from one outer step to the next lies in the state, and in its checkpoints.
    """

    def moments(self, value: Tensor) -> Moments:
        """Return nothing."""
        return {}

    def update(self, value: Tensor, gradient: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        """Return what was given."""
        return gradient, {}


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
            the stage's end they are put back to its best validation score, for good but for `OuterSettings.former`.
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
