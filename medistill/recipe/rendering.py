"""Settings of images that are rendered from features: what they are made of, and how they move towards them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from medistill.recipe.method import Start
from medistill.recipe.outer_loop import OuterStepsRecipe
from medistill.recipe.section import AtMost, Count, Fraction, Positive


class RenderingRecipe(OuterStepsRecipe):
    """Images that are optimised until a frozen encoder sees in them the features that it should."""

    OWN: ClassVar[tuple[str, ...]] = ("iterations", "image_lr", "validate_every")

    iterations: Annotated[Count, AtMost(100_000)] = 100
    """Outer steps."""
    image_lr: Positive = 0.03
    """Learning rate of Adam on the levels of the images, in logits of grey values; it falls to 0 by half a cosine over
    the outer steps."""
    validate_every: Count = 50
    """Outer steps between two looks at the validation split."""
    levels: Annotated[int, Field(ge=1, le=8), AtMost(8)] = 6
    """Levels of the pyramid that an image is the sum of, each half as wide as the one before, down to one
    pixel."""
    unlocked: Fraction = 0.0
    """Share of the outer steps over which the levels begin to move, the coarsest first; 0 moves all from the start."""
    smoothness: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the total variation of the images beside the distance of their features."""
    jitter: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Largest shift of an image before the encoder sees it, as a share of its side, drawn anew every outer step;
    0 shows it as it is."""
    start_noise: Annotated[float, Field(ge=0)] = 0.01
    """Standard deviation of the levels at the start, in logits, about even grey."""

    @property
    def starts_from(self) -> Start:
        return "noise"


class ComparedRecipe(RenderingRecipe):
    """Images that are rendered by a comparison of their features with those of originals."""

    batch_real: Annotated[Count, AtMost(65_536)] = 1024
    """Originals of each class an outer step, which are read from the cache and not encoded again."""
