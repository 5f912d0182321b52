"""Settings of the methods whose images are centroids of a quantised corpus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from medistill.recipe.method import MethodSettings, Start
from medistill.recipe.privacy import PrivacyRecipe
from medistill.recipe.quantise import AutoencoderRecipe, CentroidsRecipe


class QuantisingRecipe(MethodSettings):
    """Optimal quantisation: every image is the decoded mean of a cell of originals that are alike."""

    labels: Literal["hard", "soft"] = "soft"
    """A class an image, or the probabilities that teachers answer with."""
    quantise: CentroidsRecipe = CentroidsRecipe()
    autoencoder: AutoencoderRecipe = AutoencoderRecipe()

    @property
    def starts_from(self) -> Start:
        return "quantised"

    @property
    def quantisation(self) -> CentroidsRecipe:
        return self.quantise

    @property
    def trained_autoencoder(self) -> AutoencoderRecipe | None:
        return self.autoencoder if self.quantise.encoder == "autoencoder" else None

    @property
    def learns_labels(self) -> bool:
        return self.labels == "soft"

    def misfits(self, image_size: int) -> Iterator[str]:
        yield from self.quantise.misfits(self.autoencoder, image_size)

    def breaches(self, privacy: PrivacyRecipe) -> Iterator[str]:
        yield (f"method {self.name} averages patients' images without noise (choose a method that follows experts)")
