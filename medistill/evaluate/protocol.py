"""The protocol: how the networks of an evaluation are trained, on which originals, and what they are asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.evaluate.representatives import available, rows_by_class
from medistill.evaluate.schedule_choice import Candidate, Way
from medistill.networks.registry import NetworkSpec
from medistill.recipe import EvaluateRecipe
from medistill.training.fresh_network import TrainingSet
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule
from medistill.training.penalty import Penalty
from medistill.training.randomness import generator


def small_schedule(recipe: EvaluateRecipe, *, lr: float, epochs: int) -> Schedule:
    """The schedule for a small set: momentum, weight decay, and a tenth of the rate in the second half."""
    return Schedule(epochs, recipe.batch_size, lr, recipe.momentum, recipe.weight_decay, decay_epoch=epochs // 2 + 1)


def trained_by(way: Way, images: int, recipe: EvaluateRecipe) -> Schedule | Penalty:
    """How a network is trained in a chosen way on so many images: by its schedule, or a probe under its penalty."""
    return way if isinstance(way, Penalty) else scheduled(way, images, recipe)


def told_way(schedules: Mapping[str, Way], spec: NetworkSpec) -> Way | None:
    """How the maker of a set trained such a network on it; None where he does not say, or says what does not suit it.

    Args:
        schedules: network in words -> the way.
        spec: the network.
    """
    way = schedules.get(spec.words)
    return way if isinstance(way, Penalty) == (spec.encoder is not None) else None


def scheduled(candidate: Candidate, images: int, recipe: EvaluateRecipe) -> Schedule:
    """The schedule of a chosen way to train on so many images: whole passes, no fewer updates than were chosen, at a
    constant rate, and the mean of the last quarter for an end."""
    size = min(candidate.batch_size, images)
    epochs = -(-candidate.updates // -(-images // size))
    return Schedule(epochs, size, candidate.lr, recipe.momentum, recipe.weight_decay, tail=True)


def raw_schedule(recipe: EvaluateRecipe) -> Schedule:
    """The schedule for all originals."""
    return small_schedule(recipe, lr=recipe.raw_lr, epochs=recipe.raw_epochs)


def distilled_training(distilled: DistilledSet, recipe: EvaluateRecipe, device: torch.device) -> TrainingSet:
    """A distilled set as it is, with its learned rate."""
    schedule = small_schedule(recipe, lr=distilled.student_lr, epochs=recipe.epochs)
    return TrainingSet(LabelledImages.of_set(distilled, device), schedule)


def stored_bytes(distilled: DistilledSet) -> int:
    """What a distilled set takes as it is stored: its images as float32 and once more as viewable bytes, its labels,
    and its whitening."""
    return sum(tensor.nbytes for tensor in distilled.tensors().values())


def random_rows(corpus: Corpus, per_class: Sequence[int] | np.ndarray, seed: int, draw: int) -> np.ndarray:
    """Rows of the training split, ``per_class[c]`` of class c, drawn without replacement.

    Raises:
        DataError: a class has fewer training images.
    """
    rng = generator(seed, "random real", draw)
    found = zip(rows_by_class(corpus, per_class), per_class, strict=True)
    return np.concatenate([rows[torch.randperm(len(rows), generator=rng)[:count].numpy()] for rows, count in found])


def random_beside(distilled: DistilledSet, corpus: Corpus, seed: int, draw: int) -> np.ndarray:
    """Rows of the training split: as many of each class as a set has, drawn at random; all where there are fewer."""
    of_set = np.bincount(distilled.labels, minlength=len(corpus.class_names))
    return random_rows(corpus, available(corpus, of_set), seed, draw)


def held_out(corpus: Corpus, normalisation: Normalisation, device: torch.device) -> dict[str, LabelledImages]:
    """Return the images of the splits "validation" and "test"."""
    return {
        "validation": LabelledImages.of_split(corpus, "val", normalisation, device),
        "test": LabelledImages.of_split(corpus, "test", normalisation, device),
    }
