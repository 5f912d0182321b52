"""The protocol: fresh networks trained on each arm, and what they say of the validation and the test images."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import DivergedError
from medistill.evaluate.predictions import ARMS, OF_THE_SET, Arm
from medistill.evaluate.representatives import Representatives, available, rows_by_class
from medistill.evaluate.schedule_choice import Candidate
from medistill.networks.flat import FlatParameters
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import EvaluateRecipe, Recipe
from medistill.training.device import precision
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, predict_logits, train
from medistill.training.randomness import derive_seed, generator


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


class Arms:
    """What the networks of each arm are trained on.

    raw takes the whole training split. random and kmeans take as many real images of each class as the set has, or all
    where there are fewer, chosen anew for each network: at random, or the nearest to k-means centres. hard takes the
    distilled images with their classes alone, where the set has soft labels. distilled takes the set as it is.

    Args:
        schedules: how the networks of an arm are trained, where that was chosen. An arm without has the fixed schedule:
            all but raw the same, the distilled images at their learned rate.

    Attributes:
        names: the arms that are trained: the controls of the recipe, distilled, and hard where the labels are soft.
    """

    def __init__(
        self,
        distilled: DistilledSet,
        corpus: Corpus,
        recipe: Recipe,
        device: torch.device,
        schedules: Mapping[Arm, Candidate] | None = None,
    ) -> None:
        self.distilled, self.corpus, self.recipe, self.device = distilled, corpus, recipe, device
        self.schedules = schedules or {}
        wanted = {*recipe.evaluate.arms, "distilled", *(["hard"] if distilled.soft_labels is not None else [])}
        self.names = tuple(arm for arm in ARMS if arm in wanted)
        self._of_set = np.bincount(distilled.labels, minlength=len(corpus.class_names))
        self._per_class = available(corpus, self._of_set)

    def images(self, arm: Arm) -> int:
        """Images in an arm's training set."""
        if arm in OF_THE_SET:
            return len(self.distilled.labels)
        return len(self.corpus.rows("train")) if arm == "raw" else int(self._per_class.sum())

    def shortage(self) -> str:
        """Which classes have fewer originals than the set has images, and what the controls do; empty where none."""
        controls = [arm for arm in self.names if arm in ("random", "kmeans")]
        short = [
            f"{name} {there} in place of {wanted}"
            for name, there, wanted in zip(self.corpus.class_names, self._per_class, self._of_set, strict=True)
            if there < wanted
        ]
        if not controls or not short:
            return ""
        return (
            f"The set has more images of a class than there are training images of it, so the control arms "
            f"({', '.join(controls)}) take all that there are: {'; '.join(short)}."
        )

    def bytes(self, arm: Arm) -> int:
        """What an arm's training set takes as it is stored: an original a byte a grey value, a distilled set whole."""
        if arm in OF_THE_SET:
            return stored_bytes(self._distilled(arm))
        return self.images(arm) * self.corpus.images[0].nbytes

    def epochs(self, arm: Arm) -> int:
        """Epochs of each network of an arm."""
        return self.schedule(arm).epochs

    def identity(self, arm: Arm) -> str:
        """What decides an arm's images beside corpus, seed and recipe: nothing of the set itself where the arm is of
        originals, so that the same originals are known again beside another set."""
        if arm in OF_THE_SET:
            return hashlib.sha256(self._distilled(arm).training_bytes()).hexdigest()
        counts = [] if arm == "raw" else self._per_class.tolist()
        return json.dumps([self.distilled.normalisation.as_json(), counts])

    def rates(self, arm: Arm) -> tuple[float, ...]:
        """Learning rates to choose from; a distilled set's own is among them."""
        own = (self.distilled.student_lr,) if arm in OF_THE_SET else ()
        return tuple(sorted({*self.recipe.schedule.rates, *own}))

    def schedule(self, arm: Arm) -> Schedule:
        """How each network of an arm is trained."""
        settings = self.recipe.evaluate
        if arm in self.schedules:
            return scheduled(self.schedules[arm], self.images(arm), settings)
        if arm == "raw":
            return raw_schedule(settings)
        lr = self.distilled.student_lr if arm in OF_THE_SET else settings.lr
        return small_schedule(settings, lr=lr, epochs=settings.epochs)

    def training_set(self, arm: Arm, number: int) -> TrainingSet:
        """What network ``number`` of an arm is trained on, and how."""
        return TrainingSet(self.material(arm, number)[1], self.schedule(arm))

    def material(self, arm: Arm, number: int) -> tuple[np.ndarray | None, LabelledImages]:
        """The rows of the corpus, None for a distilled set, and the images that network ``number`` is trained on."""
        if arm in OF_THE_SET:
            return None, LabelledImages.of_set(self._distilled(arm), self.device)
        if arm == "raw":
            return self.corpus.rows("train"), self._raw
        if arm == "random":
            rows = random_beside(self.distilled, self.corpus, self.recipe.seed, number)
        else:
            rows = self._representatives.draw(derive_seed(self.recipe.seed, "k-means", number))
        return rows, self.of_rows(rows)

    def of_rows(self, rows: np.ndarray) -> LabelledImages:
        """Rows of the corpus as the networks see them."""
        return LabelledImages.of_corpus(self.corpus, rows, self.distilled.normalisation, self.device)

    def _distilled(self, arm: Arm) -> DistilledSet:
        return replace(self.distilled, soft_labels=None) if arm == "hard" else self.distilled

    @cached_property
    def _raw(self) -> LabelledImages:
        return LabelledImages.of_split(self.corpus, "train", self.distilled.normalisation, self.device)

    @cached_property
    def _representatives(self) -> Representatives:
        return Representatives.of(self.corpus, self._per_class, self.distilled.normalisation)


def random_rows(corpus: Corpus, per_class: Sequence[int] | np.ndarray, seed: int, draw: int) -> np.ndarray:
    """Rows of the training split, ``per_class[c]`` of class c, drawn without replacement.

    Raises:
        DataError: a class has fewer training images.
    """
    numbers = generator(seed, "random real", draw)
    found = zip(rows_by_class(corpus, per_class), per_class, strict=True)
    return np.concatenate([rows[torch.randperm(len(rows), generator=numbers)[:count].numpy()] for rows, count in found])


def random_beside(distilled: DistilledSet, corpus: Corpus, seed: int, draw: int) -> np.ndarray:
    """Rows of the training split: as many of each class as a set has, drawn at random; all where there are fewer."""
    of_set = np.bincount(distilled.labels, minlength=len(corpus.class_names))
    return random_rows(corpus, available(corpus, of_set), seed, draw)


def trained_network(
    training: TrainingSet,
    spec: NetworkSpec,
    recipe: Recipe,
    numbers: torch.Generator,
    device: torch.device,
    after_epoch: Callable[[int, FlatParameters], None] | None = None,
) -> tuple[nn.Module, float]:
    """Train a fresh network.

    Returns:
        The network, and the seconds that its training took.

    Raises:
        DivergedError: its parameters left the finite numbers.
    """
    network = build_network(spec, numbers, device)
    micro_batch = micro_batch_of(network, spec, recipe)
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
        finite = bool(torch.isfinite(flat.values).all())  # waits for the device
    if not finite:
        raise diverged(training.schedule.lr)
    return network, time.perf_counter() - started


def logits(
    network: nn.Module, shown: LabelledImages, spec: NetworkSpec, recipe: Recipe, device: torch.device
) -> Tensor:
    """A network's logits float32 (N, C) on the device."""
    with precision(recipe.compute.precision, device):
        return predict_logits(network, shown, micro_batch=micro_batch_of(network, spec, recipe))


def probabilities(
    network: nn.Module, shown: LabelledImages, spec: NetworkSpec, recipe: Recipe, device: torch.device
) -> np.ndarray:
    """A network's class probabilities float32 (N, C)."""
    found: np.ndarray = logits(network, shown, spec, recipe, device).softmax(dim=1).cpu().numpy()
    return found


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
        DivergedError: its parameters or its probabilities left the finite numbers.
    """
    network, seconds = trained_network(training, spec, recipe, numbers, device, after_epoch)
    nothing = np.empty((0, spec.classes), np.float32)
    told = tuple(probabilities(network, data, spec, recipe, device) if len(data) else nothing for data in shown)
    if not all(np.isfinite(found).all() for found in told):
        raise diverged(training.schedule.lr)
    return Answers(told, seconds)


def micro_batch_of(network: nn.Module, spec: NetworkSpec, recipe: Recipe) -> int:
    """Images that pass a network of the protocol at once."""
    return micro_batch_size(network, spec.channels, spec.image_size, chosen=recipe.compute.micro_batch)


def diverged(lr: float) -> DivergedError:
    """What is raised where a network left the finite numbers at this learning rate."""
    return DivergedError(
        f"a network trained at learning rate {lr:.3g} diverged",
        expected="finite parameters and probabilities",
        do="lower evaluate.lr or evaluate.raw_lr; for a distilled set, distil again with a lower method.student_lr_lr",
    )


def held_out(
    corpus: Corpus, normalisation: Normalisation, device: torch.device
) -> tuple[LabelledImages, LabelledImages]:
    """The validation and the test images."""
    return (
        LabelledImages.of_split(corpus, "val", normalisation, device),
        LabelledImages.of_split(corpus, "test", normalisation, device),
    )
