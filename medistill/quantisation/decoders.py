"""Encoder-decoders in the private cache: the corpus's own, trained once, and those that were brought."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.network_store import NetworkStore
from medistill.progress import Progress, Silent
from medistill.quantisation.autoencoder import Architecture, Autoencoder
from medistill.quantisation.autoencoder_training import OWN_LICENCE, train_autoencoder
from medistill.quantisation.decoder_folder import DESCRIPTION, bring, load
from medistill.recipe import Recipe, autoencoder_of
from medistill.training.device import precision

STORE = NetworkStore("decoders", "decoder", "autoencoder", DESCRIPTION, load, bring)


def bring_decoder(path: str | Path) -> str:
    """Check an encoder-decoder that somebody else made, and copy it into the private cache.

    Args:
        path: a folder with ``decoder.json`` and ``weights.safetensors``.

    Returns:
        Its SHA-256: what the setting method.quantise.decoder names it by, with method.quantise.encoder = brought.

    Raises:
        ArtifactError: it is damaged, states no licence, or its weights are not finite or of another network.
        UsageError: it is one that medistill trained on a corpus here, which would pass for one that saw no patient.
    """
    return STORE.bring_foreign(
        Path(path),
        own_licence=OWN_LICENCE,
        made_by="fitted to a corpus by method.quantise.encoder = autoencoder",
        do="set method.quantise.encoder=autoencoder: it is trained on the corpus at hand",
    )


def brought_decoder(sha256: str) -> tuple[Autoencoder, str]:
    """An encoder-decoder that was brought, on the CPU, and its licence.

    Raises:
        UsageError: it is not in the cache, or is damaged there.
    """
    return STORE.brought(sha256)


def architecture_of(recipe: Recipe, channels: int, image_size: int) -> Architecture:
    """Return what an autoencoder is that a recipe has trained, for images of so many channels and pixels a side.

    Raises:
        ArtifactError: it cannot be built.
        UsageError: the recipe's method trains none.
    """
    settings = autoencoder_of(recipe.method)
    return Architecture(channels, image_size, settings.width, settings.levels, settings.latent_channels)


def own_autoencoder(corpus: Corpus, recipe: Recipe, device: torch.device, progress: Progress = Silent()) -> Autoencoder:
    """The autoencoder of a corpus's training images, on the device; it is trained where the cache has none.

    Of several processes one trains, and the others wait.

    Raises:
        DivergedError: the training left the finite numbers.
        ArtifactError: the recipe asks for one that cannot be built.
    """
    settings, (channels, size, _) = autoencoder_of(recipe.method), corpus.images.shape[1:]
    architecture = architecture_of(recipe, channels, size)

    def train(folder: Path) -> Autoencoder:
        with precision(recipe.compute.precision, device):
            return train_autoencoder(
                corpus.images,
                corpus.rows("train"),
                architecture,
                settings,
                seed=recipe.seed,
                device=device,
                folder=folder,
                progress=progress,
            )

    return STORE.own(_made_with(corpus, recipe), train, progress.say).to(device)


def forget_autoencoder(corpus: Corpus, recipe: Recipe) -> None:
    """Remove the autoencoder of a corpus that nobody will ask for again, where there is one."""
    if recipe.method.trained_autoencoder is not None:
        STORE.forget(_made_with(corpus, recipe))


def _made_with(corpus: Corpus, recipe: Recipe) -> dict[str, Any]:
    """What decides the autoencoder of a corpus."""
    return {
        "corpus": corpus.content,
        "shape": list(corpus.images.shape[1:]),
        "autoencoder": autoencoder_of(recipe.method).model_dump(mode="json"),
        "seed": recipe.seed,
        "precision": recipe.compute.precision,
    }
