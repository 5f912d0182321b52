"""What of a student's walk is matched: by itself its end, in all parameters, as MTT has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from medistill.engine.growing_mask import GrowingMask


@dataclass(frozen=True)
class MatchScope:
    """What is matched.

    Attributes:
        depth: share of the parameters, in the order of the network's tensors, that is left out of error and movement;
            those nearest to the image come first (PAD).
        kept: the mask of the parameters that take part in both; None takes all (HoP-TM).
        shape: weight of the loss of shape; 0 has none (HoP-TM).
        closest: the student's state that is matched: its end, or the one nearest to the target in the sum of magnitudes
            or of squares (ATT).
    """

    depth: float = 0.0
    kept: GrowingMask | None = None
    shape: float = 0.0
    closest: Literal["off", "l1", "l2"] = "off"

    def length(self, thetas: Sequence[Float[Tensor, " P"]], target: Float[Tensor, " P"]) -> int:
        """Return the number of steps after which the student is matched; of equally near ends the later counts.

        Args:
            thetas: its J + 1 states.
            target: of the expert.
        """
        if self.closest == "off":
            return len(thetas) - 1
        order = 1 if self.closest == "l1" else 2
        apart = torch.stack([torch.linalg.vector_norm(theta - target, ord=order) for theta in thetas[1:]])
        return len(thetas) - 1 - int(apart.flip(0).argmin())

    def deep(self, end: Float[Tensor, " P"]) -> Float[Tensor, " P"] | None:
        """Return 1 for each parameter that lies deep enough, 0 for the others; None where all do."""
        left_out = int(self.depth * len(end))
        if not left_out:
            return None
        mask = torch.ones_like(end)
        mask[:left_out] = 0
        return mask


WHOLE_END = MatchScope()
"""The end, in all parameters."""
