"""The part on the denoiser that scores regions of originals: its training, or which one was brought."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medistill.recipe.section import AtMost, Count, Positive, Section


class DenoiserRecipe(Section):
    """The denoiser that scores regions: its training on the training images, or the one that was brought."""

    source: Literal["corpus", "brought"] = "corpus"
    """Where it comes from: trained on the training images and kept in the private cache, or brought with --denoiser."""
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """SHA-256 of the one that was brought; --denoiser FOLDER sets it."""
    updates: Annotated[Count, AtMost(100_000)] = 600
    """Updates of its training, by Adam. Each takes as many images of every class as chance gives it, whatever the
    classes have."""
    batch_size: Annotated[Count, AtMost(4096)] = 32
    """Images an update."""
    lr: Positive = 2e-3
    """Learning rate of Adam; it falls to 0 along a cosine."""
    width: Annotated[int, Field(ge=8, le=256, multiple_of=8), AtMost(256)] = 32
    """Channels of its first level; twice as many on the levels below."""
    depth: Annotated[int, Field(ge=1, le=5), AtMost(5)] = 2
    """Levels, each of half the height and width of the one above; the first has half of the image's already."""
    levels: Annotated[int, Field(ge=1, le=64), AtMost(64)] = 4
    """Fixed noise levels that it knows; the shares of noise in the variance are sin^2(pi/2 k/(levels + 1)) for k = 1,
    2, ..."""
    without: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the images that are shown to it without their class; a half, since both answers count alike in a
    score."""
