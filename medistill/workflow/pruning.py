"""Pruning: the corpus as methods and their experts see it, made once for a corpus, a network and a recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

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
from medistill.progress import Progress, Silent, Task
from medistill.recipe import Recipe
from medistill.selection.effects import effects
from medistill.selection.losses import mean_losses
from medistill.selection.pruning import left_out, without_extremes, without_hardest
from medistill.training.fitted_normalisation import fitted_normalisation, unwhitened
from medistill.training.fresh_network import augmentation_of
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule
from medistill.training.randomness import generator

SCORES = "scores"
"""Folder of the cache in which losses and effects lie."""


def pruned(
    corpus: Corpus, recipe: Recipe, spec: NetworkSpec, device: torch.device, progress: Progress = Silent()
) -> Corpus:
    """Return the corpus as methods and experts see it: the very same where nothing is pruned.

    Losses and effects are kept in the private cache by all that decides them; of several processes one makes them, and
    the others wait. Machines that round otherwise may prune other images, and then have another corpus here.

    Args:
        corpus: the whole one, on which arms are trained and sets are tested.
        recipe: what share is pruned, how networks learn, and the seed.
        spec: the network that scores: that of the run.
        device: where it is trained.
        progress: told how far it is, and how much was pruned.

    Raises:
        DivergedError: a network left the finite numbers.
    """
    settings, part = recipe.prune, corpus
    if settings.share > 0:
        part = without_hardest(part, _losses(part, recipe, spec, device, progress), settings.share)
        _say(corpus, part, "the hardest of each class", progress)
    if settings.effect_share > 0:
        whole = part
        part = without_extremes(part, _effects(part, recipe, spec, device, progress), settings.effect_share)
        _say(whole, part, "those of each class whose effect is unlike that of the others", progress)
    return part


def _say(whole: Corpus, part: Corpus, which: str, progress: Progress) -> None:
    gone = sum(left_out(whole, part).values())
    progress.say(f"Pruned: {gone} of {len(whole.rows('train'))} training images, {which}.")


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
            "set prune.share and prune.effect_share lower, "
            if recipe.prune.effect_share
            else (
                f"set prune.share to {np.floor(1000 * (1 - needed / images)) / 1000:g} at most, "
                if images > needed
                else "set prune.share = 0, add images of that class, "
            )
        )
        raise DataError(
            f"class {name} has {images} training images, of which {recipe.prune.shares} leaves {kept}, "
            f"fewer than {needed}",
            expected="as many as images per class are left of every class, or one where images begin as noise",
            do=f"{room}take a smaller --ipc, or let images that are optimised begin as noise (--set method.init=noise)",
        )


def _losses(corpus: Corpus, recipe: Recipe, spec: NetworkSpec, device: torch.device, progress: Progress) -> np.ndarray:
    """Return the mean loss of every training image, float64 (N,), from the cache where it is there."""
    settings = recipe.prune
    schedule = _schedule(recipe)
    steps = settings.networks * (settings.epochs if spec.encoder is None else 1)

    def measured(data: LabelledImages, number: int, task: Task) -> np.ndarray:
        rng = generator(recipe.seed, "prune", number)
        return mean_losses(data, schedule, spec, recipe, rng, device, after_epoch=task.advance)

    decisive = {
        "schedule": asdict(schedule),
        "penalty": recipe.schedule.penalty,
        "augmentation": augmentation_of(spec, recipe).model_dump(mode="json"),
    }
    return _scores(Scored("losses", decisive, steps, measured), corpus, recipe, spec, device, progress)


def _effects(corpus: Corpus, recipe: Recipe, spec: NetworkSpec, device: torch.device, progress: Progress) -> np.ndarray:
    """Return the effect of every training image, float64 (N,), the mean over the networks, likewise."""
    settings = recipe.prune

    def measured(data: LabelledImages, number: int, task: Task) -> np.ndarray:
        rng = generator(recipe.seed, "effect", number)
        return effects(data, spec, recipe, rng, device, after=task.advance)

    steps = settings.networks * 2 * len(corpus.rows("train"))
    return _scores(
        Scored("effects", {"effect_images": settings.effect_images}, steps, measured),
        corpus,
        recipe,
        spec,
        device,
        progress,
    )


@dataclass(frozen=True)
class Scored:
    """What training images are scored by.

    Attributes:
        name: of the scores.
        decisive: the settings that decide them alone.
        steps: how often the measure of all networks moves a task on.
        measured: of the images, for network number k.
    """

    name: str
    decisive: Mapping[str, Any]
    steps: int
    measured: Callable[[LabelledImages, int, Task], np.ndarray]


def _scores(
    scored: Scored, corpus: Corpus, recipe: Recipe, spec: NetworkSpec, device: torch.device, progress: Progress
) -> np.ndarray:
    """Return scores of every training image, float64 (N,), the mean over the networks, from the cache where they are
    there."""
    normalisation = unwhitened(corpus, recipe)
    key = _key(scored, corpus, recipe, spec, normalisation)
    path = private_folder(cache_root() / SCORES) / f"{key}.safetensors"
    with exclusive_lock(
        path.with_suffix(".lock"),
        when_taken=lambda: progress.say("Another process scores the same training images: this one waits for it."),
        keep=True,
    ):
        if (kept := read_kept(path, key, "scores of training images", progress.say)) is not None:
            return kept[scored.name]
        seen = fitted_normalisation(corpus, recipe, progress)
        data = LabelledImages.of_split(corpus, "train", seen, device)
        with progress.task(f"Scoring the training images ({scored.name})", scored.steps) as task:
            found = [scored.measured(data, number, task) for number in range(recipe.prune.networks)]
        scores: np.ndarray = np.mean(found, axis=0)
        keep_tensors(path, {scored.name: scores}, {"key": key})
    return scores


def _schedule(recipe: Recipe) -> Schedule:
    """Return how a network that scores is trained: as one on all originals, at a constant rate."""
    settings = recipe.evaluate
    return Schedule(recipe.prune.epochs, settings.batch_size, settings.raw_lr, settings.momentum, settings.weight_decay)


def _key(scored: Scored, corpus: Corpus, recipe: Recipe, spec: NetworkSpec, normalisation: Normalisation) -> str:
    """Return what decides the scores but for rounding; the share that goes by them is none of it."""
    decisive = {
        "corpus": corpus.content,
        "seed": recipe.seed,
        "network": spec.identity(),
        "networks": recipe.prune.networks,
        "precision": recipe.compute.precision,
        "normalisation": normalisation.as_json(),
        "zca": recipe.data.zca_regularisation if recipe.data.zca else None,
        **scored.decisive,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
