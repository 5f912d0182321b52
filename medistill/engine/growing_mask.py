"""A growing mask: parameters join a match once a student has come close to an expert in them, and stay (HoP-TM).

    v_p = 1 from the first segment on with (theta_J - theta_{i+K})_p^2 < threshold * growth^(n // every)

with n the finished outer steps (Dong et al. 2025, as their released code has it). The mask lies in the state of a run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from medistill.engine.coordinates import Coordinate, TakenOver
from medistill.engine.divergence import SECTION
from medistill.engine.segment import Segment
from medistill.errors import DivergedError

KEPT = "kept"
"""The coordinate that remembers which parameters have joined."""
LARGEST_EXPONENT = 700.0
"""Above it e to its power is no float64; no squared error comes near."""


@dataclass(frozen=True)
class GrowingMask:
    """When parameters join.

    Attributes:
        threshold: squared error of a parameter below which it joins, at first.
        growth: factor by which that grows.
        every: outer steps after which it does.
    """

    threshold: float
    growth: float
    every: int

    def coordinates(self, parameters: int, device: torch.device) -> dict[str, Coordinate]:
        """Return the mask (P,), which is empty."""
        return {KEPT: Coordinate(torch.zeros(parameters, dtype=torch.bool, device=device), TakenOver())}

    def limit(self, iteration: int) -> float:
        """Return the squared error below which a parameter joins, after so many finished outer steps."""
        exponent = math.log(self.threshold) + iteration // self.every * math.log(self.growth)
        return math.exp(min(exponent, LARGEST_EXPONENT))

    def grown(
        self,
        kept: Bool[Tensor, " P"],
        end: Float[Tensor, " P"],
        segment: Segment,
        live: Bool[Tensor, " P"],
        iteration: int,
    ) -> Bool[Tensor, " P"]:
        """Return the mask with what joins by a segment.

        Args:
            kept: the mask before.
            end: theta_J.
            segment: start and target.
            live: parameters that experts move by more than rounding.
            iteration: finished outer steps.

        Raises:
            DivergedError: the expert moved in none that is kept, so that the loss would be 0 / 0.
        """
        squares, limit = (end - segment.target).square(), self.limit(iteration)
        now, moved = kept | (squares < limit), live & (segment.start != segment.target)
        if not bool((now & moved).any()):
            least = float(squares[moved].min()) if bool(moved.any()) else math.nan
            raise DivergedError(
                f"at outer step {iteration + 1} no parameter is easy enough to be matched: the smallest squared error "
                f"is {least:.2g}, and parameters join below {limit:.2g}",
                expected="some parameters in which a student comes close to an expert",
                do=f"raise {SECTION}.{KEPT}.threshold well above {least:.2g} and start again in another --out",
            )
        return now
