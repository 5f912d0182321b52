"""Encoder-decoders in the private cache: the corpus's own, trained once, and those that were brought."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import torch

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.lock import alone
from medistill.errors import ArtifactError, UsageError
from medistill.progress import Progress, Silent
from medistill.quantisation.autoencoder import Architecture, Autoencoder
from medistill.quantisation.autoencoder_training import train_autoencoder
from medistill.quantisation.decoder_folder import DESCRIPTION, bring, load
from medistill.recipe import Recipe
from medistill.training.device import precision


def bring_decoder(path: str | Path) -> str:
    """Check an encoder-decoder that somebody else made, and copy it into the private cache.

    Args:
        path: a folder with ``decoder.json`` and ``weights.safetensors``.

    Returns:
        Its SHA-256: what the setting quantise.decoder names it by, with quantise.encoder = brought.

    Raises:
        ArtifactError: it is damaged, states no licence, or its weights are not finite or of another network.
    """
    _, _, sha256 = load(Path(path))
    folder = _decoders()
    with alone(folder / f"{sha256}.lock", when_taken=lambda: None, keep=True):
        if _intact(folder / sha256, sha256) is None:
            shutil.rmtree(folder / sha256, ignore_errors=True)
            if bring(Path(path), folder) != sha256:
                raise ArtifactError(
                    f"the decoder in {path} was changed while it was read",
                    expected="files that nobody writes to",
                    do="repeat the command",
                )
    return sha256


def brought_decoder(sha256: str) -> tuple[Autoencoder, str]:
    """An encoder-decoder that was brought, on the CPU, and its licence.

    Raises:
        UsageError: it is not in the cache, or is damaged there.
    """
    found = _intact(_decoders() / sha256, sha256)
    if found is None:
        raise UsageError(
            f"the decoder {sha256[:12]} of the recipe is not in the private cache any more, or is damaged there",
            expected="the decoder that was brought when the recipe was made",
            do="give it again with --decoder FOLDER (medistill.bring_decoder in Python)",
        )
    return found


def own_autoencoder(corpus: Corpus, recipe: Recipe, device: torch.device, progress: Progress = Silent()) -> Autoencoder:
    """The autoencoder of a corpus's training images, on the device; it is trained where the cache has none.

    Of several processes one trains, and the others wait.

    Raises:
        DivergedError: the training left the finite numbers.
        ArtifactError: the recipe asks for one that cannot be built.
    """
    settings, (channels, size, _) = recipe.autoencoder, corpus.images.shape[1:]
    architecture = Architecture(channels, size, settings.width, settings.levels, settings.latent_channels)
    made_with = {
        "corpus": corpus.content,
        "shape": [channels, size, size],
        "autoencoder": settings.model_dump(mode="json"),
        "seed": recipe.seed,
        "precision": recipe.compute.precision,
    }
    key = hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()
    folder = _decoders() / key
    with alone(
        folder.with_name(f"{key}.lock"),
        when_taken=lambda: progress.say("Another process trains the same autoencoder: this one waits for it."),
        keep=True,
    ):
        if (folder / DESCRIPTION).is_file():
            try:
                autoencoder, _, _ = load(folder)
            except ArtifactError as error:
                progress.say(f"The autoencoder is trained again: {error.seen}.")
                shutil.rmtree(folder)
            else:
                progress.say("The autoencoder is in the cache already.")
                return autoencoder.to(device)
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


def _decoders() -> Path:
    return private_folder(cache_root() / "decoders")


def _intact(folder: Path, sha256: str) -> tuple[Autoencoder, str] | None:
    """The one that lies there, if it is whole and has that hash."""
    try:
        autoencoder, licence, seen = load(folder)
    except ArtifactError:
        return None
    return (autoencoder, licence) if seen == sha256 else None
