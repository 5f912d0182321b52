"""Distances between two gradients, tensor by tensor, with their derivatives in the second one in closed form.

With r and s the rows of the two, all weights into one output each, and eps = 1e-6:

    cosine    sum over rows of 1 - <r, s> / (|r| |s| + eps)       (DC; Zhao, Mopuri and Bilen 2021, arXiv:2006.05929)
    squared   sum of (s - r)^2                                    (IDC; Kim et al. 2022, arXiv:2205.14959)
    absolute  sum of |s - r|
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

EPS = 1e-6
"""Added to a product of norms that is divided by."""
DistanceName = Literal["cosine", "squared", "absolute"]
Derived = tuple[Float[Tensor, ""], Tensor]
"""A distance, and its derivative in the second tensor."""


def distance(
    name: DistanceName, wanted: Sequence[Tensor], found: Sequence[Tensor]
) -> tuple[Float[Tensor, ""], list[Tensor]]:
    """Return the distance of two gradients, summed over their tensors, and its derivative in each of ``found``.

    Args:
        name: which distance.
        wanted: tensors whose first dimension is that of the outputs.
        found: tensors of the same shapes.
    """
    made = [_OF[name](r, s) for r, s in zip(wanted, found, strict=True)]
    return torch.stack([value for value, _ in made]).sum(), [derivative for _, derivative in made]


def _cosine(wanted: Tensor, found: Tensor) -> Derived:
    """With q = |r| |s|: d/ds = -r / (q + eps) + <r, s> |r| s / (|s| (q + eps)^2); a row s of zeros has no direction."""
    r, s = wanted.flatten(1), found.flatten(1)
    size, norm = r.norm(dim=1, keepdim=True), s.norm(dim=1, keepdim=True)
    below, along = size * norm + EPS, (r * s).sum(dim=1, keepdim=True)
    direction = torch.where(norm > 0, s / norm, 0)
    derivative = along * size / below.square() * direction - r / below
    return (1 - along / below).sum(), derivative.view_as(found)


def _squared(wanted: Tensor, found: Tensor) -> Derived:
    apart = found - wanted
    return apart.square().sum(), 2 * apart


def _absolute(wanted: Tensor, found: Tensor) -> Derived:
    apart = found - wanted
    return apart.abs().sum(), apart.sign()


_OF: dict[DistanceName, Callable[[Tensor, Tensor], Derived]] = {
    "cosine": _cosine,
    "squared": _squared,
    "absolute": _absolute,
}
