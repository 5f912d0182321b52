"""The self-adaptive weights W of IADD, learned beside the images.

Unconstrained descent on W has its only minimum at W = 0, so by default a mean of w^2 is kept at 1. It can be weighted
by parameters, or by squared movement: then weight cannot flow into small tensors that hardly count in the loss. Tensors
that never move (a bias before instance norm has no gradient) have no error to weigh: they keep weight 1 and stay out of
that mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from medistill.artifacts.trajectories import Trajectories
from medistill.engine.coordinates import Moments
from medistill.training.sgd import accumulate_

DEAD = 1e-6
"""A group is dead when its mean squared movement is below this share of the whole network's."""


@dataclass(frozen=True)
class ImportanceSettings:
    """What W is and how it moves; the settings of the same names in a recipe.

    Attributes:
        granularity: one weight a parameter tensor, a layer, or a single parameter.
        start: at 1, or so that each group counts by its relative error.
        scale: whether W or its logarithm moves.
        constraint: the mean of w^2 that is kept at 1.
        direction: along or against the gradient, or not at all; by usefulness it is another gradient, that of the
            loss on originals (`medistill.engine.objectives.combined`).
        lr: learning rate.
        momentum: share of the velocity that stays.
    """

    granularity: Literal["tensor", "layer", "scalar"] = "tensor"
    start: Literal["ones", "relative"] = "ones"
    scale: Literal["linear", "log"] = "linear"
    constraint: Literal["mean_square", "movement", "none"] = "mean_square"
    direction: Literal["descent", "ascent", "frozen", "usefulness"] = "descent"
    lr: float = 0.001
    momentum: float = 0.5


@dataclass(frozen=True)
class ParameterGroups:
    """The groups of parameters that have one weight each.

    Attributes:
        names: what each group is called.
        sizes: parameters of each group, in the order in which they lie in theta.
        live: groups that move, and so take part.
        share: how much each group counts in the mean of w^2 that is held; adds up to 1 over the live groups.
        weights: w of each group before the first step.
    """

    names: tuple[str, ...]
    sizes: Int[Tensor, " G"]
    live: Bool[Tensor, " G"]
    share: Float[Tensor, " G"]
    weights: Float[Tensor, " G"]

    @classmethod
    def of(cls, settings: ImportanceSettings, trajectories: Trajectories, device: torch.device) -> ParameterGroups:
        """Form the groups that the settings ask for.

        The first expert's movement decides which groups are live. With ``start`` relative, w^2 is the inverse of a
        group's mean squared movement, scaled as the constraint asks: then the loss is a weighted mean of the groups'
        relative errors.
        """
        names, sizes = _groups(settings.granularity, trajectories)
        moved = torch.from_numpy(trajectories.snapshot(0, trajectories.epochs) - trajectories.snapshot(0, 0)).double()
        mean_square = torch.stack([part.square().mean() for part in moved.split(sizes)])
        live = mean_square > DEAD * moved.square().mean()
        counted = live * torch.tensor(sizes) * (mean_square if settings.constraint == "movement" else 1)
        share = (counted / counted.sum()).float()
        weights = torch.ones(len(sizes))
        if settings.start == "relative":
            weights = _constrained(torch.where(live, mean_square, 1).rsqrt().float(), share, live)
        on_device = (tensor.to(device) for tensor in (live, share, weights))
        return cls(tuple(names), torch.tensor(sizes), *on_device)


@dataclass(frozen=True)
class ImportanceRule:
    """How W moves: SGD with momentum along or against the gradient, then the constraint.

    Attributes:
        settings: of W.
        groups: that it weighs.
    """

    settings: ImportanceSettings
    groups: ParameterGroups

    def moments(self, value: Float[Tensor, " G"]) -> Moments:
        """Return a velocity of zero."""
        return {"velocity": torch.zeros_like(value)}

    def update(
        self, value: Float[Tensor, " G"], gradient: Float[Tensor, " G"], moments: Moments
    ) -> tuple[Tensor, Moments]:
        """Return W and its velocity after a step."""
        settings, live = self.settings, self.groups.live
        if settings.direction == "frozen":
            return value, moments
        along = -gradient if settings.direction == "ascent" else gradient
        along = along * value * live if settings.scale == "log" else along * live
        velocity = accumulate_(moments["velocity"].clone(), along, settings.momentum)
        if settings.scale == "log":
            weights = value * torch.exp(-settings.lr * velocity)
        else:
            weights = (value - settings.lr * velocity).clamp_min(0)
        if settings.constraint != "none":
            weights = _constrained(weights, self.groups.share, live)
        return weights, {"velocity": velocity}


def _constrained(weights: Float[Tensor, " G"], share: Float[Tensor, " G"], live: Bool[Tensor, " G"]) -> Tensor:
    """Scale W so that the mean of w^2 over the live groups is 1; the others stay as they are."""
    return torch.where(live, weights / torch.dot(share, weights.square()).sqrt(), weights)


def _groups(granularity: str, trajectories: Trajectories) -> tuple[list[str], list[int]]:
    tensors = [
        (name, torch.Size(shape).numel()) for name, shape in zip(trajectories.names, trajectories.shapes, strict=True)
    ]
    if granularity == "tensor":
        return [name for name, _ in tensors], [size for _, size in tensors]
    if granularity == "scalar":
        return [f"{name}[{k}]" for name, size in tensors for k in range(size)], [1] * trajectories.parameters
    layers: dict[str, int] = {}
    for name, size in tensors:
        layer = name.rpartition(".")[0]
        layers[layer] = layers.get(layer, 0) + size
    return list(layers), list(layers.values())
