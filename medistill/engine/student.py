"""The student: a network as a pure function of a parameter vector."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from medistill.networks.flat import split


class Student:
    """A network without batch statistics, seen as loss(theta, images).

    Attributes:
        names: parameter tensors, in the order in which they lie in theta.
        shapes: their shapes.

    Raises:
        ValueError: the network keeps statistics of batches, so that a batch could not be taken in pieces.
    """

    def __init__(self, network: nn.Module) -> None:
        if any(True for _ in network.buffers()):
            raise ValueError("the student must not keep batch statistics: use instance or group norm")
        self.network = network
        self.names = tuple(name for name, _ in network.named_parameters())
        self.shapes = tuple(tuple(p.shape) for p in network.parameters())

    def parts(self, theta: Float[Tensor, " P"]) -> list[Tensor]:
        """Views of theta in the shapes of the tensors, each a leaf that gradients can be taken of."""
        return [part.detach().requires_grad_() for part in split(theta, self.shapes)]

    def loss(
        self,
        parts: Sequence[Tensor],
        images: Float[Tensor, "B C H W"],
        labels: Float[Tensor, "B C"],
        weights: Float[Tensor, " B"],
    ) -> Float[Tensor, ""]:
        """Weighted sum of the cross-entropies with the labels' probabilities.

        The weights carry the division by the batch's size. Labels are probabilities even where they are hard: picking
        the class by its index has been seen to be compiled into a wrong second derivative.
        """
        logits = functional_call(self.network, dict(zip(self.names, parts, strict=True)), (images,))
        losses = -(labels * F.log_softmax(logits.to(images.dtype), dim=1)).sum(dim=1)
        return torch.dot(losses, weights)
