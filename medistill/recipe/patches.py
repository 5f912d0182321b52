"""Settings of the method whose images are pasted together from patches of originals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field

from medistill.recipe.denoiser import DenoiserRecipe
from medistill.recipe.method import MethodSettings, Start
from medistill.recipe.privacy import PrivacyRecipe
from medistill.recipe.section import AtMost, Count, Positive
from medistill.recipe.tiles import MOST_TILES, fitting


class PatchesRecipe(MethodSettings):
    """Selection of patches: each image is pasted together from regions of originals that a denoiser finds typical of
    the class."""

    patches: Annotated[int, Field(ge=1, le=MOST_TILES), AtMost(MOST_TILES)] = 2
    """Patches along a side of an image, f: f^2 regions of H/f x W/f pixels, each of another original, fill it."""
    pool: Annotated[Count, AtMost(1000)] = 5
    """Regions of the highest scores that k-means divides, for each patch that is wanted; all that there are where there
    are fewer. Each original gives the one of its regions that scores highest."""
    draws: Annotated[Count, AtMost(1000)] = 2
    """Draws of the noise at each of the denoiser's levels over which a score is averaged."""
    batch_size: Annotated[Count, AtMost(65_536)] = 64
    """Originals that are scored at once, which bounds the memory. Their noise is drawn batch by batch, so that another
    number gives slightly other scores."""
    labels: Literal["hard", "soft"] = "soft"
    """A class an image, or the probabilities that teachers answer with."""
    teachers: Annotated[Count, AtMost(100)] = 1
    """Networks, trained on the training split as in the evaluation, whose mean answers are the soft labels."""
    temperature: Positive = 1.0
    """What their logits are divided by first."""
    denoiser: DenoiserRecipe = DenoiserRecipe()

    @property
    def starts_from(self) -> Start:
        return "patches"

    @property
    def begun(self) -> int:
        return self.ipc * self.patches**2

    @property
    def learns_labels(self) -> bool:
        return self.labels == "soft"

    @property
    def scored_by(self) -> DenoiserRecipe | None:
        return self.denoiser

    def cut_down(self, *, experts: int, iterations: int) -> Self:
        fewer = self.denoiser.model_copy(update={"updates": min(self.denoiser.updates, iterations)})
        return self.model_copy(update={"denoiser": fewer})

    def misfits(self, image_size: int) -> Iterator[str]:
        if image_size % self.patches:
            possible = ", ".join(map(str, fitting(image_size)))
            yield (
                f"method.patches {self.patches} does not divide data.image_size {image_size}; set method.patches to "
                f"one of {possible}"
            )
        if (self.denoiser.source == "brought") != bool(self.denoiser.sha256):
            yield (
                "method.denoiser.source = brought and method.denoiser.sha256 go together; --denoiser FOLDER sets them "
                "both"
            )
        if self.denoiser.source == "corpus" and image_size % 2**self.denoiser.depth:
            yield (
                f"method.denoiser.depth {self.denoiser.depth} halves the image {self.denoiser.depth} times, which "
                f"data.image_size {image_size} does not allow"
            )

    def breaches(self, privacy: PrivacyRecipe) -> Iterator[str]:
        yield (
            f"method {self.name} hands out parts of patients' images without noise (choose a method that follows "
            "experts)"
        )
