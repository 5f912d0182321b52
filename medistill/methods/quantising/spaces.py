"""Spaces: what a corpus is quantised in, codes that can be decoded or features of the network's encoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from medistill.encoders.encoder import Encoder
from medistill.encoders.features import features_of
from medistill.encoders.layers import layer_spread
from medistill.errors import DataError
from medistill.methods.rendering.encoder import encoder_of
from medistill.progress import by_pass
from medistill.quantisation.autoencoder import check_fits
from medistill.quantisation.cells import Cells
from medistill.quantisation.codes import decoded, encode, errors, keep_codes
from medistill.quantisation.decoders import brought_decoder, own_autoencoder
from medistill.quantisation.encoder_decoder import EncoderDecoder
from medistill.quantisation.pca import MOST_PASSES, fit_pca
from medistill.recipe import FeatureCellsRecipe, QuantiseRecipe, quantisation_of
from medistill.training.context import Context
from medistill.training.randomness import derive_seed

COMPONENTS = 64
"""Principal components where the recipe leaves their number open and there are images enough."""


class Space(Protocol):
    """What gives the codes of images, and shows what centroids look like.

    Attributes:
        words: what spans it, for a reader.
        dimension: numbers in a code, D.
        explained: share of the variance in it; None but for principal components.
        licence: of what was brought; else empty.
    """

    @property
    def words(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def explained(self) -> float | None: ...

    @property
    def licence(self) -> str: ...

    def codes(self, context: Context, rows: np.ndarray, name: str, path: Path) -> np.ndarray:
        """Return the codes of a class float32 (n, D), a memory map of a private file.

        Args:
            context: corpus, recipe and device.
            rows: of the corpus.
            name: of the class.
            path: of the file.
        """

    def shown(
        self, context: Context, rows: np.ndarray, name: str, codes: np.ndarray, cells: Cells
    ) -> tuple[np.ndarray | None, float | None, float | None]:
        """Return the decoded centroids of a class (K, C, H, W) in units of full scale, and the errors that decoding
        and quantising make, in grey levels; None each where nothing decodes them.

        Args:
            context: as for `codes`, and so are ``rows`` and ``name``.
            codes: as that gave them.
            cells: of them.
        """


@dataclass(frozen=True)
class CodeSpace:
    """The codes of an encoder-decoder.

    Attributes:
        encoder: what spans it.
        explained: share of the variance in it; None but for principal components.
        licence: of what was brought; else empty.
    """

    encoder: EncoderDecoder
    explained: float | None
    licence: str

    @property
    def words(self) -> str:
        """Those of the encoder-decoder."""
        return self.encoder.words

    @property
    def dimension(self) -> int:
        """Numbers in a code."""
        return self.encoder.dimension

    def codes(self, context: Context, rows: np.ndarray, name: str, path: Path) -> np.ndarray:
        """Encode the images of a class."""
        batch = quantisation_of(context.recipe.method).batch_size
        with context.progress.task(f"Encoding class {name}", len(rows)) as task:
            return encode(
                context.corpus.images,
                rows,
                self.encoder,
                batch=batch,
                path=path,
                device=context.device,
                tick=task.advance,
            )

    def shown(
        self, context: Context, rows: np.ndarray, name: str, codes: np.ndarray, cells: Cells
    ) -> tuple[np.ndarray, float, float]:
        """Decode the centroids, and measure both errors."""
        images, device = context.corpus.images, context.device
        # One by one: in company a product rounds otherwise, and a nested set would not be the same bits.
        grey = decoded(self.encoder, cells.centres, batch=1, shape=images.shape[1:], device=device)
        batch = quantisation_of(context.recipe.method).batch_size
        with context.progress.task(f"Measuring class {name}", len(rows)) as task:
            reconstruction, error = errors(
                images, rows, self.encoder, codes, grey, cells.cell, batch=batch, device=device, tick=task.advance
            )
        return grey, reconstruction, error


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """The features of a frozen encoder, each divided by how far its layer spreads over the training images.

    Attributes:
        encoder: what sees the images.
        features: (N, D) of all images of the corpus, from the private cache.
        spread: float64 (D,).
    """

    encoder: Encoder
    features: np.ndarray
    spread: np.ndarray
    explained: None = None
    licence: str = ""

    @classmethod
    def of(cls, context: Context) -> FeatureSpace:
        """Return that of the network's encoder; the corpus is encoded where it was not yet.

        Raises:
            RecipeError: the network is no probe.
            DataError: the images are alike in the eyes of a layer.
        """
        encoder = encoder_of(context)
        features = features_of(context.corpus, encoder, context.device, context.progress)
        return cls(encoder, features, layer_spread(features, context.corpus.rows("train"), encoder))

    @property
    def words(self) -> str:
        """The encoder and how many features it has."""
        return f"{self.dimension} features of the encoder {self.encoder.display_name}"

    @property
    def dimension(self) -> int:
        """Numbers in a code."""
        return self.encoder.dimension

    def codes(self, context: Context, rows: np.ndarray, name: str, path: Path) -> np.ndarray:
        """Read the features of a class from the cache."""

        def of(some: slice) -> np.ndarray:
            codes: np.ndarray = (self.features[rows[some]] / self.spread).astype(np.float32)
            return codes

        batch = quantisation_of(context.recipe.method).batch_size
        with context.progress.task(f"Reading the features of class {name}", len(rows)) as task:
            return keep_codes(of, (len(rows), self.dimension), batch=batch, path=path, tick=task.advance)

    def shown(
        self, context: Context, rows: np.ndarray, name: str, codes: np.ndarray, cells: Cells
    ) -> tuple[None, None, None]:
        """Return nothing: images are rendered from the centroids later."""
        return None, None, None


def space_of(context: Context) -> Space:
    """Return the space that the recipe names, fitted or trained where it is not brought.

    Raises:
        DataError: a code has more numbers than there are training images, or these are all alike.
        RecipeError: features are asked for, and the network is no probe.
    """
    settings = quantisation_of(context.recipe.method)
    return FeatureSpace.of(context) if isinstance(settings, FeatureCellsRecipe) else code_space(context, settings)


def code_space(context: Context, settings: QuantiseRecipe) -> CodeSpace:
    """Return the space of the codes of an encoder-decoder, fitted or trained where it is not brought.

    Args:
        context: corpus, recipe and device.
        settings: which one.

    Raises:
        DataError: a code has more numbers than there are training images, or these are all alike.
    """
    corpus, recipe, device, progress = context.corpus, context.recipe, context.device, context.progress
    rows = corpus.rows("train")
    if settings.encoder == "pca":
        with progress.task("Fitting principal components", 1) as task:
            components = fit_pca(
                corpus.images,
                rows,
                components=settings.components or max(1, min(COMPONENTS, len(rows) // 2)),
                batch=settings.batch_size,
                seed=derive_seed(recipe.seed, "components"),
                device=device,
                tick=by_pass(task, len(rows), MOST_PASSES + 1),
            )
            task.advance()
        return CodeSpace(components, components.explained, "")
    if settings.encoder == "autoencoder":
        space = CodeSpace(own_autoencoder(corpus, recipe, device, progress), None, "")
    else:
        autoencoder, licence = brought_decoder(settings.decoder)
        check_fits(autoencoder, corpus.images.shape[1:])
        space = CodeSpace(autoencoder.to(device), None, licence)
    if space.encoder.dimension > len(rows):
        raise DataError(
            f"a code has {space.encoder.dimension} numbers ({space.encoder.words}), and there are {len(rows)} training "
            "images",
            expected="at least as many training images as numbers in a code",
            do="take more levels or fewer channels (method.autoencoder.levels, "
            "method.autoencoder.latent_channels), another --decoder, or method.quantise.encoder=pca",
        )
    return space
