"""All parameters of a network as one vector, so that a snapshot, an update or a distance is one operation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """Binds a network to one vector of values and one of gradients; both are shared with its layers.

    Attributes:
        values: (P,) the parameters, in the order of ``network.parameters()``.
        gradient: (P,) where ``backward`` adds.
        names: names of the tensors, in order.
        shapes: their shapes.
    """

    def __init__(self, network: nn.Module) -> None:
        named = list(network.named_parameters())
        self.names = tuple(name for name, _ in named)
        self.shapes = tuple(tuple(p.shape) for _, p in named)
        self.values = torch.cat([p.detach().reshape(-1) for _, p in named])
        self.gradient = torch.zeros_like(self.values)
        values, gradients = split(self.values, self.shapes), split(self.gradient, self.shapes)
        for (_, parameter), value, gradient in zip(named, values, gradients, strict=True):
            parameter.data = value
            parameter.grad = gradient

    def load(self, vector: Tensor) -> None:
        """Set every parameter from (P,)."""
        self.values.copy_(vector)


def split(vector: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Views of (P,) in the shapes of the parameter tensors."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    return [part.view(shape) for part, shape in zip(vector.split(sizes), shapes, strict=True)]
