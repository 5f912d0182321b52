"""The oracle of unrolled students: every rule by which they move written out, the graph of all steps left to autograd.

Nothing of the engine's own walks or rules is used. A root is taken where it has a derivative alone: at 0, where no
gradient ever came, none goes back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call

from medistill.engine.images import Images
from medistill.engine.inner_optimisers import Adam, InnerOptimiser, MomentumSGD, PlainSGD
from medistill.engine.segment import StudentSteps
from medistill.training.augmentation import augment

Move = Callable[[Tensor, Tensor], Tensor]
"""From parameters and their gradient to the parameters after a step; what it remembers it keeps itself."""


@dataclass
class Sgd:
    """Plain gradient descent."""

    alpha: Tensor

    def __call__(self, theta: Tensor, gradient: Tensor) -> Tensor:
        return theta - self.alpha * gradient


@dataclass
class Momentum:
    """Heavy ball with an L2 penalty."""

    alpha: Tensor
    momentum: Tensor
    decay: float
    velocity: Tensor

    def __call__(self, theta: Tensor, gradient: Tensor) -> Tensor:
        self.velocity = self.momentum * self.velocity + (gradient + self.decay * theta)
        return theta - self.alpha * self.velocity


@dataclass
class NaiveAdam:
    """Kingma and Ba's Algorithm 1."""

    alpha: Tensor
    mean: Tensor
    square: Tensor
    taken: int
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = field(default=1e-8)

    def __call__(self, theta: Tensor, gradient: Tensor) -> Tensor:
        self.taken += 1
        first, second = self.betas
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient**2
        unbiased = self.square / (1 - second**self.taken)
        there = unbiased > 0
        root = torch.where(there, torch.where(there, unbiased, 1.0).sqrt(), 0.0)
        return theta - self.alpha * (self.mean / (1 - first**self.taken)) / (root + self.eps)


def naive_rule(
    optimiser: InnerOptimiser, alpha: Tensor, momentum: Tensor, moments: tuple[Tensor, ...], first: int
) -> Move:
    """The rule that an optimiser of the engine stands for, with what it remembers after ``first`` steps."""
    match optimiser:
        case PlainSGD():
            return Sgd(alpha)
        case MomentumSGD():
            return Momentum(alpha, momentum, optimiser.weight_decay, *moments)
        case Adam():
            return NaiveAdam(alpha, *moments, first, (optimiser.first, optimiser.second), optimiser.eps)
    raise TypeError(f"no oracle for {optimiser}")


def naive_walk(network: nn.Module, images: Images, theta: Tensor, steps: StudentSteps, move: Move) -> Tensor:
    """The parameters after all steps, as a function of whatever of the arguments asks for a gradient."""
    for rows, drawn in zip(steps.batches, steps.draws, strict=True):
        logits = functional_call(network, named(network, theta), (augment(images.pixels[rows], drawn),))
        told = (images.labels[rows] * logits.log_softmax(dim=1)).sum(dim=1)
        loss = -(images.weights[rows] * told).mean()
        (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
        theta = move(theta, gradient)
    return theta


def named(network: nn.Module, theta: Tensor) -> dict[str, Tensor]:
    """A vector cut into the parameters of a network."""
    found = dict(network.named_parameters())
    pieces = theta.split([p.numel() for p in found.values()])
    return {name: piece.view(p.shape) for (name, p), piece in zip(found.items(), pieces, strict=True)}


def live(network: nn.Module) -> Tensor:
    """1 for each parameter that has a gradient, 0 for the rest (P,).

    A bias of a convolution before instance norm has none but what rounding leaves, which Adam divides by its eps. No
    loss looks at it, and where one way of computing takes it another need not.
    """
    dead = {id(module.bias) for module in network.modules() if isinstance(module, nn.Conv2d)}
    kept = [torch.full((p.numel(),), float(id(p) not in dead), dtype=torch.float64) for p in network.parameters()]
    return torch.cat(kept)
