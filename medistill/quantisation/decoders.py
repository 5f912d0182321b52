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
from medistill.artifacts.kept import keep_json, read_checked_json
from medistill.artifacts.lock import exclusive_lock
from medistill.errors import ArtifactError, UsageError
from medistill.progress import Progress, Silent
from medistill.quantisation.autoencoder import Architecture, Autoencoder
from medistill.quantisation.autoencoder_training import OWN_LICENCE, train_autoencoder
from medistill.quantisation.decoder_folder import DESCRIPTION, bring, load
from medistill.recipe import Recipe, autoencoder_of
from medistill.training.device import precision

OWN = "own.json"
"""Which key an autoencoder was trained for, beside it in its folder."""


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
    _, licence, sha256 = load(Path(path))
    if licence == OWN_LICENCE:
        raise UsageError(
            f"the decoder in {path} was fitted to a corpus by method.quantise.encoder = autoencoder",
            expected="one that was not trained on patients of this house, which is what sets say of it",
            do="set method.quantise.encoder=autoencoder: it is trained on the corpus at hand",
        )
    folder = _decoders()
    with exclusive_lock(folder / f"{sha256}.lock", when_taken=lambda: None, keep=True):
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
    folder = _own_folder(corpus, recipe)
    with exclusive_lock(
        folder.with_name(f"{folder.name}.lock"),
        when_taken=lambda: progress.say("Another process trains the same autoencoder: this one waits for it."),
        keep=True,
    ):
        if (folder / DESCRIPTION).is_file():
            try:
                autoencoder, _, sha256 = load(folder)
                _check_own(folder, sha256)
            except ArtifactError as error:
                progress.say(f"The autoencoder is trained again: {error.seen}.")
                shutil.rmtree(folder)
            else:
                progress.say("The autoencoder is in the cache already.")
                return autoencoder.to(device)
        with precision(recipe.compute.precision, device):
            autoencoder = train_autoencoder(
                corpus.images,
                corpus.rows("train"),
                architecture,
                settings,
                seed=recipe.seed,
                device=device,
                folder=folder,
                progress=progress,
            )
        keep_json(folder / OWN, {"key": folder.name, "sha256": load(folder)[2]}, private=True)
        return autoencoder


def forget_autoencoder(corpus: Corpus, recipe: Recipe) -> None:
    """Remove the autoencoder of a corpus that nobody will ask for again, where there is one."""
    if recipe.method.trained_autoencoder is None:
        return
    folder = _own_folder(corpus, recipe)
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)


def _own_folder(corpus: Corpus, recipe: Recipe) -> Path:
    made_with = {
        "corpus": corpus.content,
        "shape": list(corpus.images.shape[1:]),
        "autoencoder": autoencoder_of(recipe.method).model_dump(mode="json"),
        "seed": recipe.seed,
        "precision": recipe.compute.precision,
    }
    return _decoders() / hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()


def _check_own(folder: Path, sha256: str) -> None:
    """Refuse an autoencoder that was trained for another key, in whose folder it lies.

    Raises:
        ArtifactError: with what is wrong.
    """
    known = read_checked_json(folder / OWN, "autoencoder")
    if known != {"key": folder.name, "sha256": sha256}:
        raise ArtifactError(
            f"the autoencoder in {folder} is another one",
            expected="the one that was trained for this corpus and these settings",
            do="repeat the command: it is trained again",
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
