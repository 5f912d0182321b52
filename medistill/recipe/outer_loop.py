"""Settings of the outer loop, whatever the images are compared with: how they begin, move, are scored and are saved.

A method whose images are optimised takes `OuterLoopRecipe`, and the parts beside it that it has a use for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field

from medistill.recipe.method import Draw, MethodSettings, Start
from medistill.recipe.quantise import AutoencoderRecipe, CentroidsRecipe, QuantiseRecipe
from medistill.recipe.section import AtMost, Count, Fraction, Positive, Section
from medistill.recipe.tiles import MOST_TILES, fitting

Init = Literal["real", "leverage", "distance", "noise", "quantised"]
"""What a recipe says of how images begin."""
Tiles = Annotated[int, Field(ge=1, le=MOST_TILES), AtMost(MOST_TILES)]
"""Parts of each side that a stored image is cut into."""


class OuterStepsRecipe(MethodSettings):
    """Images that are optimised step by step, whatever they begin as."""

    iterations: Annotated[Count, AtMost(100_000)] = 1000
    """Outer steps (`Iteration`)."""
    image_lr: Positive = 1.0
    """Learning rate of the images (`lr_img`)."""
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

    @property
    def outer_steps(self) -> int:
        return self.iterations

    def cut_down(self, *, experts: int, iterations: int) -> Self:
        steps = min(self.iterations, iterations)
        fewer = {"iterations": steps, "validate_every": steps, "validate_networks": 1, "keep_looks": False}
        return self.model_copy(update=fewer)


class OuterLoopRecipe(OuterStepsRecipe):
    """Images that are optimised step by step from originals, noise or centroids."""

    init: Init = "real"
    """Images start from real training images (`pix_init` real), from Gaussian noise, or from the decoded centroids of
    `method.quantise`, each the mean of several patients. `leverage` and `distance` draw the real images by importance
    within their class (ridge leverage, or the squared distance from the mean): unusual patients more often."""
    tiles: Tiles = 1
    """Parts of each side that a stored image is cut into (`factor`, IDC): each part is enlarged to a whole image, and
    networks train on these, the square of it as many as are stored. It divides `data.image_size`; 1 is off."""
    quantise: QuantiseRecipe = QuantiseRecipe()
    autoencoder: AutoencoderRecipe = AutoencoderRecipe()

    @property
    def at_rest(self) -> tuple[str, ...]:
        return (*super().at_rest, *(["tiles"] if self.tiles == 1 else []))

    @property
    def tile_factor(self) -> int:
        return self.tiles

    @property
    def starts_from(self) -> Start:
        return "real" if self.init == "leverage" or self.init == "distance" else self.init

    @property
    def start_drawn_by(self) -> Draw:
        return self.init if self.init == "leverage" or self.init == "distance" else "random"

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

    def misfits(self, image_size: int) -> Iterator[str]:
        if image_size % self.tiles:
            fit = ", ".join(map(str, fitting(image_size)))
            below = image_size - image_size % self.tiles
            sizes = " or ".join(str(size) for size in (below, below + self.tiles) if size)
            yield (
                f"method.tiles {self.tiles} does not divide data.image_size {image_size}; take one of {fit}, or "
                f"{sizes} pixels"
            )
        if self.tiles > 1 and self.quantise.nested and self.init == "quantised":
            yield (
                f"method.quantise.nested counts centroids, of which an image of method.tiles {self.tiles} holds "
                f"{self.tiles**2}; leave out method.quantise.nested, or set method.tiles to 1"
            )
        yield from self.quantise.misfits(self.autoencoder, image_size)


class LearnedLabels(Section):
    """Labels that may be learned with the images."""

    labels: Literal["hard", "soft"] = "hard"
    """A class an image, or probabilities that start at an expert's answers and are learned with it (DATM)."""
    label_lr: Annotated[float, Field(ge=0)] = 2.0
    """Learning rate of the logits of soft labels (`lr_y`)."""


class Staged(Section):
    """A set that is made in stages."""

    stages: Annotated[Count, AtMost(100)] = 1
    """Stages in which the set is made and trained on, each stage's images joining the earlier ones (PDD)."""


class Nested(Staged):
    """A set whose first images of each class are a set too, those of each stage (Boost-DD; Feng et al. 2024)."""

    stages: Annotated[Count, AtMost(100)] = 1
    """Stages in which the set is made: each adds an equal share of every class's images, and the first images of each
    class are then a set as well. Networks train on all at once."""
    former_lr: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of a step by which the images of former stages go on in a later one; 0 leaves them as they are."""


class SharpSteps(Section):
    """Outer steps that look for flat minima."""

    sharpness: Annotated[float, Field(ge=0)] = 0.0
    """Radius rho of the sharpness-aware outer step, the L2 norm of the shift of all images (SATM); 0 is plain."""
