"""The socket of a source: what an outer step draws of networks, anew whenever it is asked for."""

from __future__ import annotations

from typing import Protocol, TypeVar

from jaxtyping import Int
from torch import Tensor

Drawn_co = TypeVar("Drawn_co", covariant=True)


class Source(Protocol[Drawn_co]):
    """Draws the networks of an outer step."""

    def draw(self, iteration: int, shown: Int[Tensor, " M"], number: int = 0) -> Drawn_co:
        """Draw for an outer iteration; the result depends on the seed and on these arguments alone.

        Args:
            iteration: finished outer steps.
            shown: rows of the distilled images that take part.
            number: which of the draws of this iteration.
        """
        ...
