"""Denoisers in the private cache: the corpus's own, trained once, and those that were brought."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.network_store import NetworkStore
from medistill.denoising.denoiser import Architecture, Denoiser, noise_levels
from medistill.denoising.denoiser_folder import DESCRIPTION, bring, load
from medistill.denoising.denoiser_training import OWN_LICENCE, train_denoiser
from medistill.errors import ArtifactError, DataError, UsageError
from medistill.progress import Progress, Silent
from medistill.recipe import DenoiserRecipe, Recipe
from medistill.training.device import precision

STORE = NetworkStore("denoisers", "denoiser", "denoiser", DESCRIPTION, load, bring)


def bring_denoiser(path: str | Path) -> str:
    """Check a denoiser that somebody else made, and copy it into the private cache.

    Args:
        path: a folder with ``denoiser.json`` and ``weights.safetensors``.

    Returns:
        Its SHA-256: what the setting method.denoiser.sha256 names it by, with method.denoiser.source = brought.

    Raises:
        ArtifactError: it is damaged, states no licence, or its weights are not finite or of another network.
        UsageError: it is one that medistill trained on a corpus here, which would pass for one that saw no patient.
    """
    return STORE.bring_foreign(
        Path(path),
        own_licence=OWN_LICENCE,
        made_by="trained on a corpus by method.denoiser.source = corpus",
        do="leave --denoiser out: one is trained on the corpus at hand",
    )


def denoiser_for(
    corpus: Corpus, recipe: Recipe, device: torch.device, progress: Progress = Silent()
) -> tuple[Denoiser, str]:
    """The denoiser that the recipe names, on the device, and its licence where it was brought, else "".

    Raises:
        DataError: the corpus has one class alone.
        UsageError: one that was brought is not in the cache, or is damaged there.
        ArtifactError: it is of other images, or does not know a class of the corpus.
        DivergedError: the training of the corpus's own left the finite numbers.
    """
    settings = _settings(recipe)
    if len(corpus.class_names) < 2:
        raise DataError(
            f"the corpus has one class alone ({corpus.class_names[0]})",
            expected="two classes or more: a region is scored by what its class says of it beyond any image",
            do="add images of another class, or choose another --method",
        )
    if settings.source == "corpus":
        return own_denoiser(corpus, recipe, device, progress), ""
    denoiser, licence = STORE.brought(settings.sha256)
    check_fits(denoiser.architecture, corpus)
    return denoiser.to(device), licence


def check_fits(architecture: Architecture, corpus: Corpus) -> None:
    """Refuse a denoiser of images of another shape, or of other classes.

    Raises:
        ArtifactError: with both.
    """
    shape = tuple(corpus.images.shape[1:])
    if architecture.shape != shape:
        raise ArtifactError(
            f"the denoiser is of images of {architecture.shape}; the corpus has {shape}",
            expected="a denoiser of images of the same channels, height and width",
            do="bring another denoiser (--denoiser), or set data.image_size and data.channels to what this one is of",
        )
    if unknown := [name for name in corpus.class_names if name not in architecture.classes]:
        raise ArtifactError(
            f"the denoiser does not know the class {unknown[0]} of the corpus",
            expected=f"a denoiser of {', '.join(corpus.class_names)}, by these names",
            do="bring another denoiser (--denoiser), name the classes as it does (data.class_map), or leave --denoiser "
            "out: one is trained on the corpus",
        )


def own_denoiser(corpus: Corpus, recipe: Recipe, device: torch.device, progress: Progress = Silent()) -> Denoiser:
    """The denoiser of a corpus's training images, on the device; it is trained where the cache has none.

    Of several processes one trains, and the others wait.

    Raises:
        DivergedError: the training left the finite numbers.
        ArtifactError: the recipe asks for one that cannot be built.
    """
    settings, (channels, size, _) = _settings(recipe), corpus.images.shape[1:]
    architecture = Architecture(
        channels, size, settings.width, settings.depth, tuple(corpus.class_names), noise_levels(settings.levels)
    )

    def train(folder: Path) -> Denoiser:
        with precision(recipe.compute.precision, device):
            return train_denoiser(
                corpus, architecture, settings, seed=recipe.seed, device=device, folder=folder, progress=progress
            )

    return STORE.own(_made_with(corpus, recipe), train, progress.say).to(device)


def forget_denoiser(corpus: Corpus, recipe: Recipe) -> None:
    """Remove the denoiser of a corpus that nobody will ask for again, where there is one."""
    settings = recipe.method.scored_by
    if settings is not None and settings.source == "corpus":
        STORE.forget(_made_with(corpus, recipe))


def _settings(recipe: Recipe) -> DenoiserRecipe:
    settings = recipe.method.scored_by
    if settings is None:
        raise UsageError(
            f"method {recipe.method.name} scores nothing by a denoiser",
            expected="a method whose images are pasted of patches",
            do="add --method diffusion-patches",
        )
    return settings


def _made_with(corpus: Corpus, recipe: Recipe) -> dict[str, Any]:
    """What decides the denoiser of a corpus."""
    return {
        "corpus": corpus.content,
        "shape": list(corpus.images.shape[1:]),
        "denoiser": _settings(recipe).model_dump(mode="json"),
        "seed": recipe.seed,
        "precision": recipe.compute.precision,
    }
