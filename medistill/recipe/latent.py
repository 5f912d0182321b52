"""Settings of images that are rendered from latents of a decoder, whatever they are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from medistill.recipe.comparing import ComparingRecipe
from medistill.recipe.quantise import AutoencoderRecipe, QuantiseRecipe
from medistill.recipe.section import AtMost, Count, CountOrNone, Positive
from medistill.recipe.unrolling import WindowedLoss

Loss = Literal["dm", "doscond", "unrolled"]
"""What the images are compared with."""


class StudentsRecipe(WindowedLoss):
    """The students where `objective` is `unrolled`, as method `unrolled` has them; its rate of images is that of the
    latents."""

    student_steps: Annotated[Count, AtMost(10_000)] = 200
    window: Annotated[Count, AtMost(10_000)] = 15
    pool: Annotated[CountOrNone, AtMost(1000)] = 8
    augment_real: bool = False
    image_lr: Positive = 0.01
    """Learning rate of the latents, by Adam, in units of the layer."""


class LatentRecipe(ComparingRecipe):
    """Latents of the decoder of `method.quantise.encoder`, moved so that the images come closer to the originals."""

    objective: Loss = "dm"
    """What the images are compared with: mean features of fresh networks (`dm`) or gradients of them (`doscond`), by
    SGD with `image_lr`; or the loss on originals of students trained on the images (`unrolled`), by Adam with the
    settings of section `unrolled`."""
    image_lr: Positive = 1.0
    """Learning rate of the latents (`lr_g`) where `objective` is not `unrolled`; a latent's unit is the root mean
    square that its layer has at the start. For latents of StyleGAN-XL, in their own unit, 10 was published."""
    bound: Annotated[float, Field(ge=1)] = 2.0
    """Latents stay within so many times the largest magnitude that those of their layer have at the start; published
    for another decoder, whatever the start, is 10. Of later layers of h-glad it bounds how far they move."""
    unrolled: StudentsRecipe = StudentsRecipe()

    @property
    def codes(self) -> QuantiseRecipe:
        return self.quantise

    @property
    def trained_autoencoder(self) -> AutoencoderRecipe | None:
        return self.autoencoder if self.quantise.encoder == "autoencoder" else None

    @property
    def compares_features(self) -> bool:
        return self.objective == "dm"

    def misfits(self, image_size: int) -> Iterator[str]:
        yield from self.unrolled.unfit("method.unrolled")
        if self.quantise.encoder == "brought" and self.init != "quantised":
            yield (
                f"method.quantise.encoder = brought needs method.init = quantised, and it is {self.init}: the hash and "
                "the licence of a decoder that was brought travel with the quantisation; set method.init to quantised"
            )
        if self.tiles > 1:
            yield f"method.tiles {self.tiles} cuts images, and a decoder renders whole ones; set method.tiles to 1"
        yield from super().misfits(image_size)
