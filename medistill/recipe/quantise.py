"""The parts on quantisation: how a class becomes a few centroids in a latent space, and what spans that space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from medistill.recipe.section import MOST_NUMBER, AtMost, Count, CountOrNone, Positive, Section

Weighting = Literal["uniform", "mass", "sqrt"]


class CellsRecipe(Section):
    """Optimal quantisation of each class, whatever its images are encoded by (DDOQ, arXiv 2501.07681)."""

    batch_size: Annotated[int, Field(ge=16, le=MOST_NUMBER), AtMost(65_536)] = 512
    """Images that are encoded and quantised at once, which bounds the memory. A class with more of them has other
    centroids under another number, since CLVQ moves them batch by batch."""
    passes: Annotated[Count, AtMost(1000)] = 10
    """Passes of competitive learning vector quantisation (CLVQ) over each class, in batches."""
    refine: Annotated[CountOrNone, AtMost(10_000)] = 50
    """Most passes after these in which every centroid becomes the mean of its whole cell (Lloyd); fewer where they
    change nothing any more."""
    min_cluster_size: Count = 5
    """Fewest patients (images, where no patient is known) whose mean a distilled image is, each counted by the share of
    the cell's images that is theirs, so that one who has most of them hides behind nobody. A cell with fewer is given
    up and its images join the neighbours; where that goes on, a class gets fewer images than images per class."""
    nested: Annotated[tuple[Count, ...], Field(max_length=100)] = ()
    """Images per class, ascending, at which smaller sets are to be parts of larger ones: with 1, 10, 50 the first 10 of
    every class are the set of 10. Each level keeps the centroids of the levels before. Empty: all centroids at once."""


class WeightsRecipe(Section):
    """How much images that stand for cells count in the loss."""

    weights: Weighting = "mass"
    """Weight of an image in the loss: the share of its class in its cell (`mass`), the square root of that, or the same
    for all."""
    priors: Literal["equal", "corpus"] = "equal"
    """Whether the classes weigh alike, however many images each has, or as they are common in the training split."""


class QuantiseRecipe(CellsRecipe):
    """Optimal quantisation of each class in a latent space (DDOQ, arXiv 2501.07681)."""

    encoder: Literal["pca", "autoencoder", "brought"] = "pca"
    """What spans the latent space: principal components of the training images; an autoencoder (AutoencoderKL) that is
    trained on them; or one that was brought with --decoder."""
    decoder: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """SHA-256 of the one that was brought; --decoder FOLDER sets it."""
    components: Annotated[CountOrNone, AtMost(4096)] = 0
    """Principal components, for `pca`; 0 takes 64, or half as many as there are training images if that is less."""

    def misfits(self, autoencoder: AutoencoderRecipe, image_size: int) -> Iterator[str]:
        """What does not fit together, each in a sentence.

        Args:
            autoencoder: the settings of one that would be trained.
            image_size: height and width of the images, in pixels.
        """
        if list(self.nested) != sorted(set(self.nested)):
            yield f"method.quantise.nested {list(self.nested)} does not ascend"
        if (self.encoder == "brought") != bool(self.decoder):
            yield (
                "method.quantise.encoder = brought and method.quantise.decoder go together; --decoder FOLDER sets them "
                "both"
            )
        if image_size % 2 ** (autoencoder.levels - 1) and self.encoder == "autoencoder":
            yield (
                f"method.autoencoder.levels {autoencoder.levels} halves the image {autoencoder.levels - 1} times, "
                f"which data.image_size {image_size} does not allow"
            )


class CentroidsRecipe(WeightsRecipe, QuantiseRecipe):
    """Optimal quantisation of each class in a latent space, whose centroids are the distilled images themselves."""

    teachers: Annotated[Count, AtMost(100)] = 1
    """Networks, trained on the training split as in the evaluation, whose mean answers are the soft labels."""
    temperature: Positive = 1.0
    """What their logits are divided by first."""


class FeatureCellsRecipe(WeightsRecipe, CellsRecipe):
    """Optimal quantisation of each class in the features of the network's encoder (`network.encoder`)."""

    encoder: ClassVar[Literal["features"]] = "features"
    """What spans the space."""
    decoder: ClassVar[str] = ""
    """There is none: images are rendered."""


AnyCells = CentroidsRecipe | FeatureCellsRecipe
"""How a corpus is quantised, by whichever method."""


class AutoencoderRecipe(Section):
    """Training of the autoencoder on the training images, where `quantise.encoder` is `autoencoder`."""

    epochs: Annotated[Count, AtMost(10_000)] = 30
    """Passes over the training images."""
    batch_size: Annotated[Count, AtMost(65_536)] = 32
    """Images an update."""
    lr: Positive = 1e-3
    """Learning rate of Adam."""
    width: Annotated[int, Field(ge=8, le=256, multiple_of=8), AtMost(256)] = 16
    """Channels of its first level; twice as many on every level below."""
    levels: Annotated[int, Field(ge=2, le=6), AtMost(6)] = 4
    """Levels; each but the last halves height and width."""
    latent_channels: Annotated[int, Field(ge=1, le=64), AtMost(64)] = 4
    """Channels of a code; its height and width are those of the last level."""
    kl: Annotated[float, Field(ge=0)] = 1e-6
    """Weight of the Kullback-Leibler divergence to a normal distribution, beside the mean squared error."""
