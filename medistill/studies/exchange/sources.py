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
from medistill.sharing.balance import balanced_weights
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.studies.exchange.blend import Sent, blended, unblendable
from medistill.studies.exchange.choice import tried_weights
from medistill.studies.exchange.sites import ExchangeSite
from medistill.training.context import Context
from medistill.training.encoded import seen_by
from medistill.training.fresh_network import TrainingSet
from medistill.training.images import LabelledImages

LEAST_SETS = 3
"""Sets without whom nothing is left beside a site's originals once one is left out."""


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
        sent: of the images, those that were sent and stand beside originals; 0 where none does.
    """

    labels: np.ndarray
    epochs: int
    normalisation: Normalisation
    decides: bytes
    training: Callable[[int, float], TrainingSet]
    chosen_on: np.ndarray
    weights: tuple[float, ...] = (1.0,)
    sent: int = 0

    @property
    def joined(self) -> bool:
        """Whether images that were sent stand beside originals."""
        return self.sent > 0


@dataclass(frozen=True)
class SourceData:
    """What the networks of one source learn from at one site.

    Attributes:
        source: the source.
        site: as in `SourcePredictions`.
        name: of the networks' files.
        data: the images; None where nothing can be learnt.
        reason: why nothing can be learnt; else empty.
        without: as in `SourcePredictions`.
        variant: likewise.
    """

    source: ExchangeSource
    site: str
    name: str
    data: TrainingData | None
    reason: str = ""
    without: str = ""
    variant: str = ""

    @property
    def display_name(self) -> str:
        """What the terminal calls it."""
        without = f" without {self.without}" if self.without else ""
        variant = f" ({self.variant})" if self.variant else ""
        return f"{self.source.replace('_', ' ')}{f' of {self.site}' if self.site else ''}{without}{variant}"

    @property
    def random_names(self) -> tuple[str, ...]:
        """Names of its random numbers; all variants have the same."""
        return (self.source, self.site, *((self.without,) if self.without else ()))


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
        return self._united(list(self.sets.values()))

    def all(self) -> list[SourceData]:
        """Return the data of every source, by source and then by site; last those without one site's set."""
        return [data for source in SOURCES for data in self._of(source)] + self._unseen()

    def beside(self, variant: str, mark: str) -> list[SourceData]:
        """Return own originals beside the sets of the others, site by site, as of a variant; ``mark`` tells its
        networks' files from those of others."""
        found = self._of("own_and_others")
        return [replace(one, name=f"{one.name}_{mark}", variant=variant) for one in found]

    def others_of(self, site: str, without: str = "") -> DistilledSet | None:
        """The sets of all other sites, without that of one of them, united; None where none has one."""
        others = [source for name, source in self.sets.items() if name not in (site, without)]
        return self._united(others) if others else None

    def _united(self, sources: Sequence[MergeSource]) -> DistilledSet:
        """Sets as one, in which each site counts alike if the recipe says so."""
        if len(sources) == 1:
            return sources[0].distilled
        merged = merge_sets(sources)
        if self.recipe.exchange.balance == "images":
            return merged
        senders = np.repeat(np.arange(len(sources)), [len(source.distilled.labels) for source in sources])
        return replace(merged, weights=balanced_weights(merged.weights, merged.labels, senders))

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

    def _unseen(self) -> list[SourceData]:
        """Each site's originals beside the sets of the others but one, which is left out in turn."""
        if self.recipe.exchange.left_out == "none" or len(self.sets) < LEAST_SETS:
            return []
        found = []
        for site in self.sites:
            for other in self.sites:
                if len(site.classes) > 1 and other.name in self.sets and other.name != site.name:
                    beside = self._own_beside(site, self.others_of(site.name, other.name))
                    one = self._data("own_and_unseen", site, *beside)
                    found.append(replace(one, name=f"{one.name}_{other.folder}", without=other.name))
        return found

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
        return self._own_beside(site, self.others_of(site.name))

    def _own_beside(self, site: ExchangeSite, others: DistilledSet | None) -> tuple[TrainingData | None, str]:
        """A site's originals beside some set."""
        alone, reason = self._own_raw(site)
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

        theirs = others.expanded().labels
        return replace(
            alone,
            labels=np.concatenate([alone.labels, theirs]),
            decides=alone.decides + others.training_bytes(),
            training=training,
            weights=tried_weights(self.recipe.exchange),
            sent=len(theirs),
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
