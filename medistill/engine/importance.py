"""The self-adaptive weights W of IADD, learned beside the images.

Unconstrained descent on W has its only minimum at W = 0, so by default a mean of w^2 is kept at 1. It can be weighted
by parameters, or by squared movement: then weight cannot flow into small tensors that hardly count in the loss. Tensors
that never move (a bias before instance norm has no gradient) have no error to weigh: they keep weight 1 and stay out of
that mean.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from medistill.artifacts.trajectories import Trajectories
from medistill.recipe import ImportanceRecipe

DEAD = 1e-6
"""A group is dead when its mean squared movement is below this share of the whole network's."""


@dataclass
class Importance:
    """W and the momentum of its optimiser.

    Attributes:
        names: what each group is called.
        sizes: parameters of each group, in the order in which they lie in theta.
        live: groups that move, and so take part.
        share: how much each group counts in the mean of w^2 that is held; adds up to 1 over the live groups.
        weights: w of each group, from 1.
        velocity: momentum of the weights' SGD.
    """

    names: tuple[str, ...]
    sizes: Int[Tensor, " G"]
    live: Bool[Tensor, " G"]
    share: Float[Tensor, " G"]
    weights: Float[Tensor, " G"]
    velocity: Float[Tensor, " G"]

    @classmethod
    def start(cls, recipe: ImportanceRecipe, trajectories: Trajectories, device: torch.device) -> "Importance":
        """W at its start, one for each group that the recipe asks for.

        The first expert's movement decides which groups are live. With ``start`` relative, w^2 is the inverse of a
        group's mean squared movement, scaled as the constraint asks: then the loss is a weighted mean of the groups'
        relative errors.
        """
        names, sizes = _groups(recipe.granularity, trajectories)
        moved = torch.from_numpy(trajectories.snapshot(0, trajectories.epochs) - trajectories.snapshot(0, 0)).double()
        mean_square = torch.stack([part.square().mean() for part in moved.split(sizes)])
        live = mean_square > DEAD * moved.square().mean()
        counted = live * torch.tensor(sizes) * (mean_square if recipe.constraint == "movement" else 1)
        share = (counted / counted.sum()).float()
        weights = torch.ones(len(sizes))
        if recipe.start == "relative":
            weights = _held(torch.where(live, mean_square, 1).rsqrt().float(), share, live)
        on_device = (tensor.to(device) for tensor in (live, share, weights, torch.zeros_like(weights)))
        return cls(tuple(names), torch.tensor(sizes), *on_device)

    def update(self, gradient: Float[Tensor, " G"], recipe: ImportanceRecipe) -> None:
        """One step of SGD with momentum along or against the gradient, then the constraint."""
        if recipe.direction == "frozen":
            return
        along = gradient if recipe.direction == "descent" else -gradient
        if recipe.scale == "log":
            self.velocity = recipe.momentum * self.velocity + along * self.weights * self.live
            self.weights = self.weights * torch.exp(-recipe.lr * self.velocity)
        else:
            self.velocity = recipe.momentum * self.velocity + along * self.live
            self.weights = (self.weights - recipe.lr * self.velocity).clamp_min(0)
        if recipe.constraint != "none":
            self.weights = _held(self.weights, self.share, self.live)


def _held(weights: Float[Tensor, " G"], share: Float[Tensor, " G"], live: Bool[Tensor, " G"]) -> Float[Tensor, " G"]:
    """W scaled so that the mean of w^2 over the live groups is 1; the others as they are."""
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
