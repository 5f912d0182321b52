"""Pruning: the corpus as methods and their experts see it, made once for a corpus, a network and a recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.kept import keep_tensors, read_kept
from medistill.artifacts.lock import exclusive_lock
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import DataError
from medistill.networks.registry import NetworkSpec
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe
from medistill.selection.losses import mean_losses
from medistill.selection.pruning import left_out, without_hardest
from medistill.training.fitted_normalisation import fitted_normalisation, unwhitened
from medistill.training.fresh_network import augmentation_of
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule
from medistill.training.randomness import generator

SCORES = "scores"
"""Folder of the cache in which losses lie."""


def pruned(
    corpus: Corpus, recipe: Recipe, spec: NetworkSpec, device: torch.device, progress: Progress = Silent()
) -> Corpus:
    """Return the corpus as methods and experts see it: the very same where nothing is pruned.

    The losses are kept in the private cache by all that decides them; of several processes one makes them, and the
    others wait. Machines that round otherwise may prune other images, and then have another corpus here.

    Args:
        corpus: the whole one, on which arms are trained and sets are tested.
        recipe: what share is pruned, how networks learn, and the seed.
        spec: the network that scores: that of the run.
        device: where it is trained.
        progress: told how far it is, and how much was pruned.

    Raises:
        DivergedError: a network left the finite numbers.
    """
    if not recipe.prune.active:
        return corpus
    part = without_hardest(corpus, _losses(corpus, recipe, spec, device, progress), recipe.prune)
    gone = sum(left_out(corpus, part).values())
    progress.say(f"Pruned: {gone} of {len(corpus.rows('train'))} training images, the hardest of each class.")
    return part


def refuse_too_few(corpus: Corpus, recipe: Recipe, class_ids: Collection[int] | None = None) -> None:
    """Refuse to prune a class of a whole corpus until it has fewer images than its set needs.

    Args:
        corpus: before it is pruned.
        recipe: what share is pruned, and what a class needs.
        class_ids: classes that the set is to hold; None takes all.

    Raises:
        DataError: with the numbers of the first such class.
    """
    if not recipe.prune.active:
        return
    counts = np.bincount(corpus.labels[corpus.rows("train")], minlength=len(corpus.class_names))
    for c, (name, images) in enumerate(zip(corpus.class_names, counts.tolist(), strict=True)):
        kept, needed = recipe.prune.kept(images), recipe.fewest_images
        if kept >= needed or (class_ids is not None and c not in class_ids):
            continue
        room = (
            f"set prune.share to {np.floor(1000 * (1 - needed / images)) / 1000:g} at most, "
            if images > needed
            else "set prune.share = 0, add images of that class, "
        )
        raise DataError(
            f"class {name} has {images} training images, of which prune.share = {recipe.prune.share:g} leaves {kept}, "
            f"fewer than {needed}",
            expected="as many as images per class are left of every class, or one where images begin as noise",
            do=f"{room}take a smaller --ipc, or let images that are optimised begin as noise (--set method.init=noise)",
        )


def _losses(corpus: Corpus, recipe: Recipe, spec: NetworkSpec, device: torch.device, progress: Progress) -> np.ndarray:
    """Return the mean loss of every training image, float64 (N,), from the cache where it is there."""
    settings, normalisation = recipe.prune, unwhitened(corpus, recipe)
    key = _key(corpus, recipe, spec, normalisation)
    path = private_folder(cache_root() / SCORES) / f"{key}.safetensors"
    with exclusive_lock(
        path.with_suffix(".lock"),
        when_taken=lambda: progress.say("Another process scores the same training images: this one waits for it."),
        keep=True,
    ):
        if (kept := read_kept(path, key, "scores of training images", progress.say)) is not None:
            return kept["losses"]
        seen = fitted_normalisation(corpus, recipe, progress)
        data = LabelledImages.of_split(corpus, "train", seen, device)
        steps = settings.networks * (settings.epochs if spec.encoder is None else 1)
        with progress.task("Scoring the training images", steps) as task:
            found = [
                mean_losses(
                    data,
                    _schedule(recipe),
                    spec,
                    recipe,
                    generator(recipe.seed, "prune", number),
                    device,
                    after_epoch=task.advance,
                )
                for number in range(settings.networks)
            ]
        losses: np.ndarray = np.mean(found, axis=0)
        keep_tensors(path, {"losses": losses}, {"key": key})
    return losses


def _schedule(recipe: Recipe) -> Schedule:
    """Return how a network that scores is trained: as one on all originals, at a constant rate."""
    settings = recipe.evaluate
    return Schedule(recipe.prune.epochs, settings.batch_size, settings.raw_lr, settings.momentum, settings.weight_decay)


def _key(corpus: Corpus, recipe: Recipe, spec: NetworkSpec, normalisation: Normalisation) -> str:
    """Return what decides the losses but for rounding; the share is none of it."""
    decisive = {
        "corpus": corpus.content,
        "seed": recipe.seed,
        "network": spec.identity(),
        "networks": recipe.prune.networks,
        "schedule": asdict(_schedule(recipe)),
        "penalty": recipe.schedule.penalty,
        "augmentation": augmentation_of(spec, recipe).model_dump(mode="json"),
        "precision": recipe.compute.precision,
        "normalisation": normalisation.as_json(),
        "zca": recipe.data.zca_regularisation if recipe.data.zca else None,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
