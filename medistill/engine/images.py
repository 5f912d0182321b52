"""The distilled images as an outer step sees them: rendered, with their labels as probabilities or values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


def as_it_is(direction: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """Return a direction as it is."""
    return direction


@dataclass(frozen=True)
class Images:
    """What a network is shown of the distilled set.

    Attributes:
        pixels: the distilled images, normalised; features (N, D) of them where a frozen encoder stands before the
            network.
        labels: probabilities of the classes, each row adding up to 1; or values, where the objective is one of values.
        weights: a loss weight each, mean 1.
        descent: from a gradient in what the network is shown to the direction in which that moves as the distilled
            images move along the gradient; the gradient itself, but for features.
    """

    pixels: Float[Tensor, "N C H W"]
    labels: Float[Tensor, "N C"]
    weights: Float[Tensor, " N"]
    descent: Callable[[Float[Tensor, "N C H W"]], Float[Tensor, "N C H W"]] = as_it_is
