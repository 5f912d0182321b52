"""Settings of the outer loop, whatever the images are compared with: how they begin, move, are scored and are saved.

A method whose images are optimised takes `OuterLoopRecipe`, and the parts beside it that it has a use for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field

from medistill.recipe.method import MethodSettings, Start
from medistill.recipe.quantise import AutoencoderRecipe, CentroidsRecipe, QuantiseRecipe
from medistill.recipe.section import AtMost, Count, Fraction, Positive, Section


class OuterLoopRecipe(MethodSettings):
    """Images that are optimised step by step."""

    iterations: Annotated[Count, AtMost(100_000)] = 1000
    """Outer steps (`Iteration`)."""
    image_lr: Positive = 1.0
    """Learning rate of the images (`lr_img`)."""
    momentum: Fraction = 0.5
    """Momentum of the images' SGD."""
    init: Start = "real"
    """Images start from real training images (`pix_init` real), from Gaussian noise, or from the decoded centroids of
    `method.quantise`, each the mean of several patients."""
    ema: Fraction = 0.0
    """Decay of the moving average of the images that is kept as the result; 0 keeps the images themselves."""
    validate_every: Count = 100
    """Outer steps between two looks at the validation split."""
    validate_networks: Annotated[Count, AtMost(100)] = 3
    """Fresh networks trained at each look."""
    validate_epochs: Annotated[Count, AtMost(20_000)] = 300
    """Epochs of each of them."""
    keep_looks: bool = False
    """Keep the images of every look, so that a benchmark can tell the best test accuracy of the run, as papers do."""
    checkpoint_every: Count = 25
    """Outer steps between two saved states."""
    quantise: QuantiseRecipe = QuantiseRecipe()
    autoencoder: AutoencoderRecipe = AutoencoderRecipe()

    @property
    def starts_from(self) -> Start:
        return self.init

    @property
    def quantisation(self) -> CentroidsRecipe | None:
        return CentroidsRecipe(**self.quantise.model_dump()) if self.init == "quantised" else None

    @property
    def trained_autoencoder(self) -> AutoencoderRecipe | None:
        trained = self.quantisation is not None and self.quantisation.encoder == "autoencoder"
        return self.autoencoder if trained else None

    @property
    def stage_count(self) -> int:
        return self.stages if isinstance(self, Staged) else 1

    @property
    def outer_steps(self) -> int:
        return self.iterations

    def cut_down(self, *, experts: int, iterations: int) -> Self:
        steps = max(self.stage_count, iterations)
        fewer = {"iterations": steps, "validate_every": steps, "validate_networks": 1, "keep_looks": False}
        return self.model_copy(update=fewer)

    def misfits(self, image_size: int) -> Iterator[str]:
        yield from self.quantise.misfits(self.autoencoder, image_size)


class Staged(Section):
    """A set that is made in stages."""

    stages: Annotated[Count, AtMost(100)] = 1
    """Stages in which the set is made and trained on, each stage's images joining the earlier ones (PDD)."""


class SharpSteps(Section):
    """Outer steps that look for flat minima."""

    sharpness: Annotated[float, Field(ge=0)] = 0.0
    """Radius rho of the sharpness-aware outer step, the L2 norm of the shift of all images (SATM); 0 is plain."""
