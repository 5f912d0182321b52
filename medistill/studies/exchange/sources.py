"""Sources of the exchange study: what networks learn from at each site."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from medistill.artifacts.corpus import NOT_STATED, SPLITS
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.evaluate.protocol import distilled_training, random_rows, raw_schedule, small_schedule
from medistill.evaluate.site_matrix import SOURCES, ExchangeSource
from medistill.report.wording import listed
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.studies.exchange.blend import Sent, blended, unblendable
from medistill.studies.exchange.sites import ExchangeSite
from medistill.training.context import Context
from medistill.training.encoded import seen_by
from medistill.training.fresh_network import TrainingSet
from medistill.training.images import LabelledImages


@dataclass(frozen=True)
class TrainingData:
    """Images that networks learn from.

    Attributes:
        labels: int64 (M,), of each image.
        epochs: of each network.
        normalisation: of the images, and so of the test images.
        decides: bytes of all that makes it differ from other images of the same corpus and recipe.
        training: number of a network, weight of an image that was sent -> what that one is trained on.
        chosen_on: int64, rows of the corpus by which weight and penalty are chosen; of one class where none can be.
        weights: of the images that were sent, to choose among; (1,) where nothing was sent beside originals.
        joined: images that were sent stand beside originals.
    """

    labels: np.ndarray
    epochs: int
    normalisation: Normalisation
    decides: bytes
    training: Callable[[int, float], TrainingSet]
    chosen_on: np.ndarray
    weights: tuple[float, ...] = (1.0,)
    joined: bool = False


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
        sets: site -> its set, where it has one; and sender -> what was received, of which no originals are here.
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
        self.corpus, self.recipe, self.device, self.context = context.corpus, context.recipe, context.device, context

    @property
    def received(self) -> list[str]:
        """Senders whose originals are not here."""
        return [name for name in self.sets if all(site.name != name for site in self.sites)]

    @cached_property
    def united(self) -> DistilledSet:
        """The sets of all sites."""
        return _united(list(self.sets.values()))

    def all(self) -> list[SourceData]:
        """Return the data of every source, by source and then by site."""
        return [data for source in SOURCES for data in self._of(source)]

    def others_of(self, site: str) -> DistilledSet | None:
        """The sets of all other sites, united; None where none has one."""
        others = [source for name, source in self.sets.items() if name != site]
        return _united(others) if others else None

    def _of(self, source: ExchangeSource) -> list[SourceData]:
        if source == "own_raw":
            return [self._data(source, site, *self._own_raw(site)) for site in self.sites]
        if source == "own_and_others":
            return [self._data(source, site, *self._own_and_others(site)) for site in self.sites]
        if source == "own_set":
            return [self._data(source, site, *self._own_set(site)) for site in self.sites]
        if source == "others_sets":
            return [self._data(source, site, *self._others_sets(site)) for site in self.sites]
        if source == "all_sets":
            return [self._data(source, None, self._of_set(self.united, self._validation()))]
        if self.received:
            return [self._data(source, None, None, f"the originals of {listed(self.received)} are not here")]
        if source == "random":
            return [self._data(source, None, self._random())]
        everything = np.concatenate([site.rows for site in self.sites])
        pooled = self._of_originals(everything, self.united.normalisation, self._validation())
        return [self._data(source, None, pooled)]

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

    def _validation(self, site: ExchangeSite | None = None) -> np.ndarray:
        """Validation images of a site, or of all whose site is known."""
        corpus = self.corpus
        known = np.array([name != NOT_STATED if site is None else name == site.name for name in corpus.site_names])
        return np.flatnonzero(known[corpus.sites] & (corpus.splits == SPLITS.index("val")))

    def _own_raw(self, site: ExchangeSite) -> tuple[TrainingData | None, str]:
        if site.reason:
            return None, site.reason
        normalisation = Normalisation.of(self.corpus.images, site.rows)
        return self._of_originals(site.rows, normalisation, self._validation(site)), ""

    def _own_set(self, site: ExchangeSite) -> tuple[TrainingData | None, str]:
        own = self.sets.get(site.name)
        if own is None:
            return None, self.reasons[site.name]
        return self._of_set(own.distilled, self._validation(site)), ""

    def _others_sets(self, site: ExchangeSite) -> tuple[TrainingData | None, str]:
        others = self.others_of(site.name)
        return (
            (None, "no other site has a set") if others is None else (self._of_set(others, self._validation(site)), "")
        )

    def _own_and_others(self, site: ExchangeSite) -> tuple[TrainingData | None, str]:
        """A site's originals beside what the others sent."""
        alone, reason = self._own_raw(site)
        others = self.others_of(site.name)
        if alone is None or others is None:
            return None, reason or "no other site has a set"
        if why := unblendable(others):
            return None, why

        @cache
        def sent() -> Sent:
            return Sent.of(others, self.context)

        def training(_: int, weight: float) -> TrainingSet:
            data = blended(site.rows, sent(), weight, alone.normalisation, self.context)
            return TrainingSet(data, raw_schedule(self.recipe.evaluate))

        return replace(
            alone,
            labels=np.concatenate([alone.labels, others.expanded().labels]),
            decides=alone.decides + others.training_bytes(),
            training=training,
            weights=self.recipe.exchange.weights,
            joined=True,
        ), ""

    def _of_set(self, distilled: DistilledSet, chosen_on: np.ndarray) -> TrainingData:
        @cache
        def training() -> TrainingSet:
            found, encoder = distilled_training(distilled, self.recipe.evaluate, self.device), self.context.spec.encoder
            return replace(found, data=seen_by(encoder, found.data, self.device))

        return TrainingData(
            labels=distilled.expanded().labels,
            epochs=self.recipe.evaluate.epochs,
            normalisation=distilled.normalisation,
            decides=distilled.training_bytes(),
            training=lambda *_: training(),
            chosen_on=chosen_on,
        )

    def _of_originals(self, rows: np.ndarray, normalisation: Normalisation, chosen_on: np.ndarray) -> TrainingData:
        settings = self.recipe.evaluate
        schedule = raw_schedule(settings)
        return TrainingData(
            labels=self.corpus.labels[rows],
            epochs=settings.raw_epochs,
            normalisation=normalisation,
            decides=rows.tobytes() + json.dumps(normalisation.as_json()).encode(),
            training=lambda *_: TrainingSet(
                LabelledImages.of_corpus(self.corpus, rows, normalisation, self.device), schedule
            ),
            chosen_on=chosen_on,
        )

    def _random(self) -> TrainingData:
        """As many originals of each class and each site as its set holds, drawn anew for each network."""
        settings, classes = self.recipe.evaluate, len(self.corpus.class_names)
        counts = {name: np.bincount(source.distilled.labels, minlength=classes) for name, source in self.sets.items()}
        shares = [(site.share(self.corpus), counts[site.name]) for site in self.sites if site.name in counts]
        schedule = small_schedule(settings, lr=settings.lr, epochs=settings.epochs)
        normalisation = self.united.normalisation

        def training(number: int, _: float) -> TrainingSet:
            rows = np.concatenate([random_rows(share, count, self.recipe.seed, number) for share, count in shares])
            return TrainingSet(LabelledImages.of_corpus(self.corpus, rows, normalisation, self.device), schedule)

        counted = [[share.content, count.tolist()] for share, count in shares]
        return TrainingData(
            labels=self.united.labels,
            epochs=settings.epochs,
            normalisation=normalisation,
            decides=json.dumps([counted, normalisation.as_json()]).encode(),
            training=training,
            chosen_on=self._validation(),
        )


def _united(sources: Sequence[MergeSource]) -> DistilledSet:
    return merge_sets(sources) if len(sources) > 1 else sources[0].distilled
