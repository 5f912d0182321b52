"""The protocol: fresh networks trained on each arm, and what they say of the validation and the test images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import DataError, DivergedError
from medistill.evaluate.predictions import Arm
from medistill.networks.flat import FlatParameters
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import EvaluateRecipe, Recipe
from medistill.training.device import precision
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, predict, train
from medistill.training.randomness import generator


@dataclass(frozen=True)
class TrainingSet:
    """What the networks of an arm are trained on, and how."""

    data: LabelledImages
    schedule: Schedule


@dataclass(frozen=True)
class Answers:
    """One network's probabilities float32 (N, C) for each set of images that it was shown, and its training time."""

    probabilities: tuple[np.ndarray, ...]
    seconds: float


def small_schedule(recipe: EvaluateRecipe, *, lr: float, epochs: int) -> Schedule:
    """The schedule for a small set: momentum, weight decay, and a tenth of the rate in the second half."""
    return Schedule(epochs, recipe.batch_size, lr, recipe.momentum, recipe.weight_decay, decay_epoch=epochs // 2 + 1)


def training_set(
    arm: Arm,
    distilled: DistilledSet,
    corpus: Corpus,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    raw: Callable[[], LabelledImages],
) -> TrainingSet:
    """What network number ``seed`` of an arm is trained on.

    The distilled arm takes the set with its learned rate; the random arm as many real images a class, drawn anew for
    each network, under the same schedule; the raw arm the whole training split.
    """
    settings = recipe.evaluate
    if arm == "distilled":
        schedule = small_schedule(settings, lr=distilled.student_lr, epochs=settings.epochs)
        return TrainingSet(LabelledImages.of_set(distilled, device), schedule)
    if arm == "random":
        rows = random_rows(corpus, np.bincount(distilled.labels, minlength=len(corpus.class_names)), recipe.seed, seed)
        data = LabelledImages.of_corpus(corpus, rows, distilled.normalisation, device)
        return TrainingSet(data, small_schedule(settings, lr=settings.lr, epochs=settings.epochs))
    return TrainingSet(raw(), small_schedule(settings, lr=settings.raw_lr, epochs=settings.raw_epochs))


def random_rows(corpus: Corpus, per_class: Sequence[int] | np.ndarray, seed: int, draw: int) -> np.ndarray:
    """Rows of the training split, ``per_class[c]`` of class c, drawn without replacement.

    Raises:
        DataError: a class has fewer training images.
    """
    numbers = generator(seed, "random real", draw)
    train_rows = corpus.rows("train")
    picked = []
    for c, count in enumerate(per_class):
        rows = train_rows[corpus.labels[train_rows] == c]
        if len(rows) < count:
            smallest = min(int((corpus.labels[train_rows] == k).sum()) for k in range(len(per_class)))
            raise DataError(
                f"class {corpus.class_names[c]} has {len(rows)} training images, fewer than {count} images per class",
                expected="at least as many training images in every class as images per class",
                do=f"take --ipc {max(1, smallest)} or less, or add images of that class",
            )
        picked.append(rows[torch.randperm(len(rows), generator=numbers)[:count].numpy()])
    return np.concatenate(picked)


def answers(
    training: TrainingSet,
    shown: Sequence[LabelledImages],
    spec: NetworkSpec,
    recipe: Recipe,
    numbers: torch.Generator,
    device: torch.device,
    after_epoch: Callable[[int, FlatParameters], None] | None = None,
) -> Answers:
    """Train a fresh network and ask it for the classes of the images in ``shown``.

    Raises:
        DivergedError: its parameters left the finite numbers.
    """
    network = build_network(spec, numbers, device)
    micro_batch = micro_batch_size(network, spec.channels, spec.image_size, chosen=recipe.compute.micro_batch)
    started = time.perf_counter()
    with precision(recipe.compute.precision, device):
        flat = train(
            network,
            training.data,
            training.schedule,
            recipe.augmentation,
            numbers,
            micro_batch=micro_batch,
            after_epoch=after_epoch,
        )
        seconds = time.perf_counter() - started
        if not bool(torch.isfinite(flat.values).all()):
            raise DivergedError(
                f"a network trained at learning rate {training.schedule.lr:.3g} diverged",
                expected="finite parameters",
                do="lower evaluate.lr or evaluate.raw_lr; for a distilled set, distil again with a lower "
                "distill.student_lr_lr",
            )
        told = tuple(predict(network, data, micro_batch=micro_batch).cpu().numpy() for data in shown)
    return Answers(told, seconds)


def held_out(
    corpus: Corpus, normalisation: Normalisation, device: torch.device
) -> tuple[LabelledImages, LabelledImages]:
    """The validation and the test images."""
    return (
        LabelledImages.of_split(corpus, "val", normalisation, device),
        LabelledImages.of_split(corpus, "test", normalisation, device),
    )
