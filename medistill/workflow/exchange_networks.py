"""Networks of the exchange study: what those of each source learn from, and what they say, kept one by one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_tensors, read_kept
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import DivergedError
from medistill.evaluate.protocol import (
    TrainingSet,
    answers,
    distilled_training,
    random_rows,
    raw_schedule,
    small_schedule,
)
from medistill.evaluate.site_matrix import SOURCES, ExchangeSource, SourcePredictions
from medistill.networks.registry import NetworkSpec
from medistill.progress import Progress, Task, every_epoch_but_last
from medistill.recipe import Recipe
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.workflow.evaluate import what_decides
from medistill.workflow.exchange_sites import ExchangeSite


@dataclass(frozen=True)
class Material:
    """Images that networks learn from.

    Attributes:
        labels: int64 (M,), of each image.
        epochs: of each network.
        normalisation: of the images, and so of the test images.
        decides: bytes of all that makes it differ from other material of the same corpus and recipe.
        training: number of a network -> what that one is trained on.
    """

    labels: np.ndarray
    epochs: int
    normalisation: Normalisation
    decides: bytes
    training: Callable[[int], TrainingSet]


@dataclass(frozen=True)
class Lesson:
    """What the networks of one source learn from at one site.

    Attributes:
        source: the source.
        site: as in `SourcePredictions`.
        name: of the networks' files.
        material: the images; None where nothing can be learnt.
        reason: why nothing can be learnt; else empty.
    """

    source: ExchangeSource
    site: str
    name: str
    material: Material | None
    reason: str = ""

    @property
    def words(self) -> str:
        """What the terminal calls it."""
        return f"{self.source.replace('_', ' ')}{f' of {self.site}' if self.site else ''}"


class Lessons:
    """Makes the lessons of a study.

    Args:
        corpus: of all sites.
        sites: what each site can give.
        sets: site -> its set, where it has one.
        reasons: site -> why it has none.
        recipe: schedules and seed.
        device: where the images go.
    """

    def __init__(
        self,
        corpus: Corpus,
        sites: Sequence[ExchangeSite],
        sets: Mapping[str, MergeSource],
        reasons: Mapping[str, str],
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        self.corpus, self.sites, self.sets, self.reasons = corpus, sites, sets, reasons
        self.recipe, self.device = recipe, device

    @cached_property
    def united(self) -> DistilledSet:
        """The sets of all sites."""
        return _united(list(self.sets.values()))

    def all(self) -> list[Lesson]:
        """Every lesson, by source and then by site."""
        return [lesson for source in SOURCES for lesson in self._of(source)]

    def _of(self, source: ExchangeSource) -> list[Lesson]:
        if source == "own_raw":
            return [self._lesson(source, site, *self._own_raw(site)) for site in self.sites]
        if source == "own_set":
            return [self._lesson(source, site, *self._own_set(site)) for site in self.sites]
        if source == "others_sets":
            return [self._lesson(source, site, *self._others_sets(site)) for site in self.sites]
        if source == "all_sets":
            return [self._lesson(source, None, self._of_set(self.united))]
        if source == "random":
            return [self._lesson(source, None, self._random())]
        everything = np.concatenate([site.rows for site in self.sites])
        return [self._lesson(source, None, self._of_originals(everything, self.united.normalisation))]

    def _lesson(
        self, source: ExchangeSource, site: ExchangeSite | None, found: Material | None, reason: str = ""
    ) -> Lesson:
        """The lesson, unless all its images are of one class."""
        name = source if site is None else f"{source}_{site.folder}"
        where = "" if site is None else site.name
        if found is not None and len(present := np.unique(found.labels)) == 1:
            only = self.corpus.class_names[int(present[0])]
            return Lesson(source, where, name, None, f"all that there is to learn from is of class {only}")
        return Lesson(source, where, name, found, reason)

    def _own_raw(self, site: ExchangeSite) -> tuple[Material | None, str]:
        if site.reason:
            return None, site.reason
        return self._of_originals(site.rows, Normalisation.of(self.corpus.images[site.rows])), ""

    def _own_set(self, site: ExchangeSite) -> tuple[Material | None, str]:
        own = self.sets.get(site.name)
        return (None, self.reasons[site.name]) if own is None else (self._of_set(own.distilled), "")

    def _others_sets(self, site: ExchangeSite) -> tuple[Material | None, str]:
        others = [source for name, source in self.sets.items() if name != site.name]
        return (self._of_set(_united(others)), "") if others else (None, "no other site has a set")

    def _of_set(self, distilled: DistilledSet) -> Material:
        return Material(
            labels=distilled.labels,
            epochs=self.recipe.evaluate.epochs,
            normalisation=distilled.normalisation,
            decides=distilled.training_bytes(),
            training=lambda _: distilled_training(distilled, self.recipe.evaluate, self.device),
        )

    def _of_originals(self, rows: np.ndarray, normalisation: Normalisation) -> Material:
        settings = self.recipe.evaluate
        schedule = raw_schedule(settings)
        return Material(
            labels=self.corpus.labels[rows],
            epochs=settings.raw_epochs,
            normalisation=normalisation,
            decides=rows.tobytes() + json.dumps(normalisation.as_json()).encode(),
            training=lambda _: TrainingSet(
                LabelledImages.of_corpus(self.corpus, rows, normalisation, self.device), schedule
            ),
        )

    def _random(self) -> Material:
        """As many originals of each class and each site as its set holds, drawn anew for each network."""
        settings, classes = self.recipe.evaluate, len(self.corpus.class_names)
        counts = {name: np.bincount(source.distilled.labels, minlength=classes) for name, source in self.sets.items()}
        shares = [(site.share(self.corpus), counts[site.name]) for site in self.sites if site.name in counts]
        schedule = small_schedule(settings, lr=settings.lr, epochs=settings.epochs)
        normalisation = self.united.normalisation

        def training(number: int) -> TrainingSet:
            rows = np.concatenate([random_rows(share, count, self.recipe.seed, number) for share, count in shares])
            return TrainingSet(LabelledImages.of_corpus(self.corpus, rows, normalisation, self.device), schedule)

        told = [[share.content, count.tolist()] for share, count in shares]
        return Material(
            labels=self.united.labels,
            epochs=settings.epochs,
            normalisation=normalisation,
            decides=json.dumps([told, normalisation.as_json()]).encode(),
            training=training,
        )


def _united(sources: Sequence[MergeSource]) -> DistilledSet:
    return merge_sets(sources) if len(sources) > 1 else sources[0].distilled


@dataclass(frozen=True)
class Asked:
    """Trains networks and asks them about the test images; what each says is kept, private, when it is trained.

    Attributes:
        rows: int64 (N,), the test images, as rows of the corpus.
        corpus: of all sites.
        recipe: number of networks, augmentation, seed.
        spec: the network.
        place: where they are trained.
        folder: where their answers are kept.
    """

    rows: np.ndarray
    corpus: Corpus
    recipe: Recipe
    spec: NetworkSpec
    place: torch.device
    folder: Path

    def about(self, lessons: Sequence[Lesson], progress: Progress) -> list[SourcePredictions]:
        """Train what is missing, lesson by lesson. One with which a network diverges has no figures; the others go on.

        Progress counts the images shown to the networks, for time goes by them.
        """
        private_folder(self.folder)
        count = self.recipe.evaluate.networks
        works = [(lesson.material, lesson, self._key(lesson.material)) for lesson in lessons if lesson.material]
        left = [
            (one, sum(self._kept(lesson, n, key, progress) is None for n in range(count))) for one, lesson, key in works
        ]
        total = sum(one.epochs * len(one.labels) for one, _ in left) * count
        missing = sum(one.epochs * len(one.labels) * networks for one, networks in left)
        with progress.task(f"Training networks ({self.spec.name})", total, done=total - missing) as task:
            return [self._asked(lesson, task, progress) for lesson in lessons]

    def _asked(self, lesson: Lesson, task: Task, progress: Progress) -> SourcePredictions:
        classes = len(self.corpus.class_names)
        nothing = np.empty((0, len(self.rows), classes), np.float32)
        if lesson.material is None:
            return SourcePredictions(lesson.source, lesson.site, 0, nothing, lesson.reason)
        told, key, images = [], self._key(lesson.material), len(lesson.material.labels)
        for number in range(self.recipe.evaluate.networks):
            kept = self._kept(lesson, number, key, progress)
            if kept is None:
                try:
                    kept = self._trained(lesson, lesson.material, number, task)
                except DivergedError as error:
                    progress.say(f"{lesson.words}: {error}")
                    return SourcePredictions(lesson.source, lesson.site, images, nothing, error.seen)
                keep_tensors(self._path(lesson, number), {"test": kept}, {"key": key})
                task.advance(images, figures=f"{lesson.words}, network {number + 1}")
            told.append(kept)
        return SourcePredictions(lesson.source, lesson.site, images, np.stack(told))

    def _trained(self, lesson: Lesson, material: Material, number: int, task: Task) -> np.ndarray:
        """Probabilities float32 (N, C) of a fresh network; every epoch but the last advances the task."""
        figures = f"{lesson.words}, network {number + 1}"
        task.advance(0, figures=figures)
        tick = every_epoch_but_last(task, material.epochs, len(material.labels), figures)
        shown = LabelledImages.of_corpus(self.corpus, self.rows, material.normalisation, self.place)
        numbers = generator(self.recipe.seed, "exchange", lesson.source, lesson.site, number)
        told = answers(material.training(number), [shown], self.spec, self.recipe, numbers, self.place, tick)
        return told.probabilities[0]

    def _path(self, lesson: Lesson, number: int) -> Path:
        return self.folder / f"{lesson.name}_{number:03d}.safetensors"

    def _kept(self, lesson: Lesson, number: int, key: str, progress: Progress) -> np.ndarray | None:
        arrays = read_kept(self._path(lesson, number), key, "stored predictions", progress.say)
        return None if arrays is None else arrays["test"]

    def _key(self, material: Material) -> str:
        """What decides the predictions: a stored network of another key is trained again."""
        said = what_decides(self.corpus, self.recipe, self.spec, self.place)
        return hashlib.sha256(said + self.rows.tobytes() + material.decides).hexdigest()
