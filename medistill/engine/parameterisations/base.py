"""The socket of a parameterisation: from coordinates z to images X, and from dL/dX back to dL/dz."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from medistill.engine.coordinates import Coordinate, Values


class Parameterisation(Protocol):
    """How images are rendered from coordinates."""

    def coordinates(self) -> dict[str, Coordinate]:
        """Return the coordinates, each with its start."""
        ...

    def render(self, values: Values) -> Float[Tensor, "N C H W"]:
        """Return the images."""
        ...

    def pullback(self, values: Values, grad_images: Float[Tensor, "N C H W"]) -> dict[str, Tensor]:
        """Return the gradient in each of the coordinates, from that in the images."""
        ...
