"""The distilled images as an outer step sees them: rendered, with their labels as probabilities."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """What a network is shown of the distilled set.

    Attributes:
        pixels: the distilled images, normalised.
        labels: probabilities of the classes, each row adding up to 1.
        weights: a loss weight each, mean 1.
    """

    pixels: Float[Tensor, "N C H W"]
    labels: Float[Tensor, "N C"]
    weights: Float[Tensor, " N"]
