"""Networks of the exchange study: what those of each source learn from, and what they predict, kept one by one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import DivergedError
from medistill.evaluate.network_keys import what_decides
from medistill.evaluate.protocol import distilled_training, random_rows, raw_schedule, small_schedule
from medistill.evaluate.site_matrix import SOURCES, ExchangeSource, SourcePredictions
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.studies.exchange.sites import ExchangeSite
from medistill.training.context import Context
from medistill.training.ensemble import JobRunner, OutputsFile, TrainingJob, predicting
from medistill.training.fresh_network import TrainingSet
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator


@dataclass(frozen=True)
class TrainingData:
    """Images that networks learn from.

    Attributes:
        labels: int64 (M,), of each image.
        epochs: of each network.
        normalisation: of the images, and so of the test images.
        decides: bytes of all that makes it differ from other images of the same corpus and recipe.
        training: number of a network -> what that one is trained on.
    """

    labels: np.ndarray
    epochs: int
    normalisation: Normalisation
    decides: bytes
    training: Callable[[int], TrainingSet]


@dataclass(frozen=True)
class SourceData:
    """What the networks of one source learn from at one site.

    Attributes:
        source: the source.
        site: as in `SourcePredictions`.
        name: of the networks' files.
        data: the images; None where nothing can be learnt.
        reason: why nothing can be learnt; else empty.
    """

    source: ExchangeSource
    site: str
    name: str
    data: TrainingData | None
    reason: str = ""

    @property
    def display_name(self) -> str:
        """What the terminal calls it."""
        return f"{self.source.replace('_', ' ')}{f' of {self.site}' if self.site else ''}"


class Sources:
    """What the networks of each source of a study learn from.

    Args:
        sites: what each site can give.
        sets: site -> its set, where it has one.
        reasons: site -> why it has none.
        context: corpus of all sites, schedules and seed, and where the images go.
    """

    def __init__(
        self,
        sites: Sequence[ExchangeSite],
        sets: Mapping[str, MergeSource],
        reasons: Mapping[str, str],
        context: Context,
    ) -> None:
        self.sites, self.sets, self.reasons = sites, sets, reasons
        self.corpus, self.recipe, self.device = context.corpus, context.recipe, context.device

    @cached_property
    def united(self) -> DistilledSet:
        """The sets of all sites."""
        return _united(list(self.sets.values()))

    def all(self) -> list[SourceData]:
        """Return the data of every source, by source and then by site."""
        return [data for source in SOURCES for data in self._of(source)]

    def _of(self, source: ExchangeSource) -> list[SourceData]:
        if source == "own_raw":
            return [self._data(source, site, *self._own_raw(site)) for site in self.sites]
        if source == "own_set":
            return [self._data(source, site, *self._own_set(site)) for site in self.sites]
        if source == "others_sets":
            return [self._data(source, site, *self._others_sets(site)) for site in self.sites]
        if source == "all_sets":
            return [self._data(source, None, self._of_set(self.united))]
        if source == "random":
            return [self._data(source, None, self._random())]
        everything = np.concatenate([site.rows for site in self.sites])
        return [self._data(source, None, self._of_originals(everything, self.united.normalisation))]

    def _data(
        self, source: ExchangeSource, site: ExchangeSite | None, data: TrainingData | None, reason: str = ""
    ) -> SourceData:
        """Return the data, unless all its images are of one class."""
        name = source if site is None else f"{source}_{site.folder}"
        where = "" if site is None else site.name
        if data is not None and len(present := np.unique(data.labels)) == 1:
            only = self.corpus.class_names[int(present[0])]
            return SourceData(source, where, name, None, f"all that there is to learn from is of class {only}")
        return SourceData(source, where, name, data, reason)

    def _own_raw(self, site: ExchangeSite) -> tuple[TrainingData | None, str]:
        if site.reason:
            return None, site.reason
        return self._of_originals(site.rows, Normalisation.of(self.corpus.images[site.rows])), ""

    def _own_set(self, site: ExchangeSite) -> tuple[TrainingData | None, str]:
        own = self.sets.get(site.name)
        return (None, self.reasons[site.name]) if own is None else (self._of_set(own.distilled), "")

    def _others_sets(self, site: ExchangeSite) -> tuple[TrainingData | None, str]:
        others = [source for name, source in self.sets.items() if name != site.name]
        return (self._of_set(_united(others)), "") if others else (None, "no other site has a set")

    def _of_set(self, distilled: DistilledSet) -> TrainingData:
        return TrainingData(
            labels=distilled.expanded().labels,
            epochs=self.recipe.evaluate.epochs,
            normalisation=distilled.normalisation,
            decides=distilled.training_bytes(),
            training=lambda _: distilled_training(distilled, self.recipe.evaluate, self.device),
        )

    def _of_originals(self, rows: np.ndarray, normalisation: Normalisation) -> TrainingData:
        settings = self.recipe.evaluate
        schedule = raw_schedule(settings)
        return TrainingData(
            labels=self.corpus.labels[rows],
            epochs=settings.raw_epochs,
            normalisation=normalisation,
            decides=rows.tobytes() + json.dumps(normalisation.as_json()).encode(),
            training=lambda _: TrainingSet(
                LabelledImages.of_corpus(self.corpus, rows, normalisation, self.device), schedule
            ),
        )

    def _random(self) -> TrainingData:
        """As many originals of each class and each site as its set holds, drawn anew for each network."""
        settings, classes = self.recipe.evaluate, len(self.corpus.class_names)
        counts = {name: np.bincount(source.distilled.labels, minlength=classes) for name, source in self.sets.items()}
        shares = [(site.share(self.corpus), counts[site.name]) for site in self.sites if site.name in counts]
        schedule = small_schedule(settings, lr=settings.lr, epochs=settings.epochs)
        normalisation = self.united.normalisation

        def training(number: int) -> TrainingSet:
            rows = np.concatenate([random_rows(share, count, self.recipe.seed, number) for share, count in shares])
            return TrainingSet(LabelledImages.of_corpus(self.corpus, rows, normalisation, self.device), schedule)

        counted = [[share.content, count.tolist()] for share, count in shares]
        return TrainingData(
            labels=self.united.labels,
            epochs=settings.epochs,
            normalisation=normalisation,
            decides=json.dumps([counted, normalisation.as_json()]).encode(),
            training=training,
        )


def _united(sources: Sequence[MergeSource]) -> DistilledSet:
    return merge_sets(sources) if len(sources) > 1 else sources[0].distilled


def source_predictions(sources: Sequence[SourceData], rows: np.ndarray, context: Context) -> list[SourcePredictions]:
    """Train what is missing, source by source, and return what the networks of each say of the test images.

    A source with which a network diverges has no figures; the others go on. What each network says is kept, private,
    in ``context.out``. Progress counts the images shown to the networks, for time goes by them.

    Args:
        sources: what networks learn from.
        rows: int64 (N,), the test images, as rows of the corpus.
        context: corpus of all sites, number of networks, augmentation and seed, network and device.
    """
    private_folder(context.out)
    jobs = [
        _job(source, source.data, number, rows, context)
        for source in sources
        if source.data is not None
        for number in range(context.recipe.evaluate.networks)
    ]
    names, runner = {source.name: source.display_name for source in sources}, JobRunner(jobs, context.progress.say)

    def leave_out(job: TrainingJob, error: DivergedError) -> None:
        context.progress.say(f"{names[job.group]}: {error}")

    runner.run(context, f"Training networks ({context.spec.name})", leave_out=leave_out)
    nothing = np.empty((0, len(rows), len(context.corpus.class_names)), np.float32)
    predicted = []
    for source in sources:
        images = 0 if source.data is None else len(source.data.labels)
        diverged, networks = runner.diverged.get(source.name), runner.of(source.name)
        reason = source.reason if diverged is None else diverged.seen
        test = nothing if reason else np.stack([one.arrays["test"] for one in networks])
        predicted.append(SourcePredictions(source.source, source.site, images, test, reason))
    return predicted


def _job(source: SourceData, data: TrainingData, number: int, rows: np.ndarray, context: Context) -> TrainingJob:
    def shown() -> dict[str, LabelledImages]:
        return {"test": LabelledImages.of_corpus(context.corpus, rows, data.normalisation, context.device)}

    key = hashlib.sha256(what_decides(context) + rows.tobytes() + data.decides).hexdigest()
    return TrainingJob(
        group=source.name,
        number=number,
        display_name=f"{source.display_name}, network {number + 1}",
        epochs=data.epochs,
        steps=len(data.labels),
        training=lambda: data.training(number),
        rng=lambda: generator(context.recipe.seed, "exchange", source.source, source.site, number),
        outputs=predicting(shown, context),
        store=OutputsFile(context.out / f"{source.name}_{number:03d}.safetensors", key),
    )
