"""Own detail: what sets an image apart from what people have in common, so that one person's image is known by it.

Radiographs of different people are much alike, and their correlation is high. What all share, and what varies much from
one to the next, tells nobody apart. So the mean of all originals is taken off, as often as an image holds it, and what
is left is weighed by the inverse of how it varies: directions in which people differ much count little. With C the
covariance of the originals x, m the mean of its diagonal and s the share `FLOOR`,

    u(x) = L^-1 (x - a - b mean) at length 1,  L L^T = C + s m I,

a and b being those that fit best. A product of two is near zero for two people and one for one. It is the filter by
which a known signal is sought in coloured noise (a matched filter). Mean and covariance are of both splits together,
so that neither is favoured: a training image takes part in them as much as a held-out one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from medistill.privacy.gathered import gathered

FLOOR = 0.03
"""What is added to the variance of every direction, as a share of the mean variance: rounding, and noise."""
ROUNDING = 1e-12
"""Share of the square of an image below which what is left of it is rounding."""
LARGEST_BLOCK = 2**23
"""Numbers held at once of one kind: 32 MiB in float32."""


@dataclass(frozen=True)
class OwnDetail:
    """The space of own detail of some originals.

    Attributes:
        originals: (N, D), as they are compared: cropped, filtered, flattened.
        floor: s of the module's equation.
    """

    originals: Tensor
    floor: float = FLOOR

    @cached_property
    def _common(self) -> Tensor:
        """(D,) the mean of the originals, itself of mean 0 and length 1."""
        mean = self.originals.mean(dim=0)
        return torch.nn.functional.normalize(mean - mean.mean(), dim=0)

    @cached_property
    def _factor(self) -> Tensor:
        """(D, D), L."""
        size = self.originals.shape[1]
        covariance = torch.zeros(size, size, dtype=torch.float64, device=self.originals.device)
        for block in self.originals.split(max(1, LARGEST_BLOCK // size)):
            apart = self._apart(block).double()
            covariance += apart.T @ apart
        covariance /= len(self.originals)
        scale = covariance.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
        eye = torch.eye(size, dtype=torch.float64, device=covariance.device)
        return torch.linalg.cholesky(covariance + self.floor * scale * eye).float()

    def _apart(self, images: Tensor) -> Tensor:
        """(..., D) less its own mean and what it holds of the common one."""
        centred = images - images.mean(dim=-1, keepdim=True)
        return centred - (centred @ self._common)[..., None] * self._common

    def __call__(self, images: Tensor) -> Tensor:
        """Return images (..., D) as u(x); one that has nothing of its own becomes zeros."""
        apart = self._apart(images).flatten(0, -2)
        solved = torch.linalg.solve_triangular(self._factor, apart.T, upper=False).T
        flat = images.flatten(0, -2)
        nothing = apart.square().sum(dim=1) <= ROUNDING * flat.square().sum(dim=1)
        unit = torch.nn.functional.normalize(solved, dim=1).masked_fill(nothing[:, None], 0)
        return unit.view(images.shape)

    @cached_property
    def units(self) -> Tensor:
        """(N, D), u of the originals."""
        blocks = self.originals.split(max(1, LARGEST_BLOCK // len(self._common)))
        return gathered((self(block) for block in blocks), len(self.originals))


def best_products(
    variants: Callable[[Tensor], Tensor], queries: Tensor, space: OwnDetail, *, either_sign: bool = False
) -> Tensor:
    """Largest product of any variant of each query with every original, (Q, N).

    Args:
        variants: queries (q, ...) -> (q, V, D).
        queries: (Q, ...).
        either_sign: the magnitude counts, so that a negative is as near.
    """
    found = torch.empty(len(queries), len(space.units), device=queries.device)
    for row, query in enumerate(queries):
        mine = space(variants(query[None])[0])
        for start in range(0, len(space.units), step := max(1, LARGEST_BLOCK // len(mine))):
            product = mine @ space.units[start : start + step].T
            found[row, start : start + step] = (product.abs() if either_sign else product).amax(dim=0)
    return found
