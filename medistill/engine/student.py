"""The student: a network as a pure function of a parameter vector."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from medistill.networks.flat import split

HvpMode = Literal["reverse", "compiled"]
"""How the second derivative of a step is taken, see `medistill.engine.derivative`."""


class Student:
    """A network without batch statistics, seen as loss(theta, images).

    Attributes:
        names: parameter tensors, in the order in which they lie in theta.
        shapes: their shapes.
        hvp_mode: how the second derivative of a step is taken.
        graphs: the last steps of a walk whose graph is kept for the walk back.
        programs: what was compiled for it.

    Raises:
        ValueError: the network keeps statistics of batches, so that a batch could not be taken in pieces.
    """

    def __init__(self, network: nn.Module, hvp_mode: HvpMode = "reverse", graphs: int = 0) -> None:
        if any(True for _ in network.buffers()):
            raise ValueError("the student must not keep batch statistics: use instance or group norm")
        self.network, self.hvp_mode, self.graphs = network, hvp_mode, graphs
        self.programs: dict[str, Callable[..., Any]] = {}
        self.names = tuple(name for name, _ in network.named_parameters())
        self.shapes = tuple(tuple(p.shape) for p in network.parameters())

    @property
    def parameters(self) -> int:
        """The length of theta, P."""
        return sum(math.prod(shape) for shape in self.shapes)

    def parts(self, theta: Float[Tensor, " P"]) -> list[Tensor]:
        """Return views of theta in the shapes of the tensors, each a leaf that gradients can be taken of."""
        return [part.detach().requires_grad_() for part in split(theta, self.shapes)]

    def logits(self, parts: Sequence[Tensor], images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C"]:
        """Return the logits of the network."""
        made = functional_call(self.network, dict(zip(self.names, parts, strict=True)), (images,))
        return made.to(images.dtype)

    def loss(
        self,
        parts: Sequence[Tensor],
        images: Float[Tensor, "B C H W"],
        labels: Float[Tensor, "B C"],
        weights: Float[Tensor, " B"],
    ) -> Float[Tensor, ""]:
        """Return the `cross_entropy` of the network's logits."""
        return cross_entropy(self.logits(parts, images), labels, weights)


def cross_entropy(
    logits: Float[Tensor, "B C"], labels: Float[Tensor, "B C"], weights: Float[Tensor, " B"]
) -> Float[Tensor, ""]:
    """Return the weighted sum of the cross-entropies with the labels' probabilities; the weights divide by B.

    Labels are probabilities even where they are hard: picking the class by its index has been seen to be compiled into
    a wrong second derivative.
    """
    return torch.dot(-(labels * F.log_softmax(logits, dim=1)).sum(dim=1), weights)
