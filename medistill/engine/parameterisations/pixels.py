"""Pixels: the images themselves are what is moved."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from medistill.artifacts.set_problem import LIMIT
from medistill.engine.coordinates import Coordinate, Range, UpdateRule, Values, largest_magnitude


@dataclass(frozen=True)
class Pixels:
    """Images by their normalised pixels, the coordinate ``pixels``.

    Attributes:
        start: the images before the first step.
        rule: how they move.
        setting: the setting to lower where they leave their range.
    """

    start: Float[Tensor, "N C H W"]
    rule: UpdateRule
    setting: str = "image_lr"

    def coordinates(self) -> dict[str, Coordinate]:
        """Return the pixels, whose root mean square is about 1 at the start."""
        reach = Range(
            self.setting, largest_magnitude, LIMIT, "the images reach {:.3g} standard deviations", root_mean_square
        )
        return {"pixels": Coordinate(self.start, self.rule, reach, per_image=True, averaged=True)}

    def render(self, values: Values) -> Float[Tensor, "N C H W"]:
        """Return them as they are."""
        return values["pixels"]

    def pullback(self, values: Values, grad_images: Float[Tensor, "N C H W"]) -> dict[str, Tensor]:
        """Return the gradient as it is."""
        return {"pixels": grad_images}


def root_mean_square(values: Tensor) -> float:
    """Return the typical size of an element."""
    return float(values.square().mean().sqrt())
