"""Signals: what attacks work on, made once for all of them; each is made when the first attack asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from medistill.artifacts.corpus import NOT_STATED, Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.privacy.letters import TextFigures
from medistill.privacy.membership import CellTrait, Source
from medistill.recipe import Unit

if TYPE_CHECKING:
    from torch import Tensor

    from medistill.artifacts.class_statistics import ClassStatistics
    from medistill.networks.registry import NetworkSpec
    from medistill.privacy.copy_search import CopySignals, FeatureSpace
    from medistill.privacy.encoder_space import EncoderSpace

Read = Callable[[np.ndarray], "Tensor"]
"""Rows of a corpus -> a batch of them, float32 (B, ...)."""
Cells = Mapping[tuple[CellTrait, str], np.ndarray]
"""Trait and name of a class or site -> which of the images about which is asked are of it."""


@dataclass(frozen=True)
class SetFacts:
    """What the set says of itself, and attacks depend on.

    Attributes:
        unit: "patient", "study" or "image": whom the corpus tells apart.
        initialisation: "real", "noise", "quantised" or "patches", how its images began; empty where it does not say.
        smallest_cluster: patients of the smallest cell of a quantised set; None where it does not say.
        for_encoder: its images were made for what a frozen encoder sees in them.
        by_targets: its labels are target vectors, learned from a frozen teacher's features.
        soft_labels: its labels are probabilities or values of the classes.
        with_statistics: class statistics of the originals travel with it.
    """

    unit: Unit
    initialisation: str
    smallest_cluster: int | None
    for_encoder: bool = False
    by_targets: bool = False
    soft_labels: bool = False
    with_statistics: bool = False

    @classmethod
    def of(cls, distilled: DistilledSet, corpus: Corpus, spec: NetworkSpec) -> SetFacts:
        """From the provenance of a set, and the network that it was made for."""
        known = distilled.provenance
        smallest = None if known.quantisation is None else known.quantisation.smallest_cluster
        began, encoded = known.starts_from or "", spec.encoder is not None
        carried = distilled.statistics is not None
        return cls(
            corpus.split_unit,
            began,
            smallest,
            encoded,
            distilled.by_targets,
            distilled.by_class,
            with_statistics=carried,
        )


@dataclass(frozen=True)
class Initialisation:
    """Which real images the set began as.

    Attributes:
        rows: (Q,), of the corpus; None where that is not known or there are none.
        reason: why; else empty.
    """

    rows: np.ndarray | None
    reason: str


@dataclass(frozen=True)
class NetworkAnswers:
    """What the networks of one source say of images.

    Attributes:
        source: what they learnt from.
        confidence: (T, N), from `true_class_confidence`, of T networks or T shadows.
        member: (N,) bool, the source held the image; of shadows (T, N).
        groups: int64 (N,), patients.
        cells: classes and sites among the N.
    """

    source: Source
    confidence: np.ndarray
    member: np.ndarray
    groups: np.ndarray
    cells: Cells


@dataclass(frozen=True)
class CanaryAnswers:
    """What the networks of one source say of C canaries in K shadows.

    Attributes:
        source: what they learnt from.
        repeats: (K, C) bool, shadow k gives canary i its wrong label.
        inserted: (K, C) bool, the source of shadow k held it.
    """

    source: Source
    repeats: np.ndarray
    inserted: np.ndarray


@dataclass(frozen=True)
class LabelAnswers:
    """What labels, or networks, say of C canaries in K shadows.

    Attributes:
        source: "distilled" for the soft labels of the shadows' sets; else what networks learnt from.
        scores: (K, C), how much more they say the canary's wrong class.
        inserted: (K, C) bool, the source of shadow k held it.
    """

    source: Source
    scores: np.ndarray
    inserted: np.ndarray


@dataclass(frozen=True)
class ShadowSignals:
    """The answers of shadow distillations, or why there are none.

    Attributes:
        answers: one record a source.
        canaries: likewise; empty where there is no canary.
        labels: of the set and of all originals; empty where there is no canary, or the shadows have no soft labels.
        reason: why no shadow could be made, as the end of "cannot be made, because ..."; else empty.
        seconds: what all of it took.
    """

    answers: tuple[NetworkAnswers, ...] = ()
    canaries: tuple[CanaryAnswers, ...] = ()
    labels: tuple[LabelAnswers, ...] = ()
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class CoinScores:
    """What an attack says of people whose coin decided whether they are in.

    Attributes:
        attack: its name.
        source: what was made once more.
        beside: whether what the same attack says of the set itself is taken off.
        values: (m,), mean over a person's images, higher for who seems to be in; NaN where none can be given.
    """

    attack: str
    source: Source
    beside: bool
    values: np.ndarray


@dataclass(frozen=True)
class OneRunSignals:
    """A set made once more, or why there is none.

    Attributes:
        inside: bool (m,), by the coins.
        scores: of every attack that gives some; none of them knows the coins.
        delta: at which epsilon is bounded.
        stated_epsilon: as in `OneRun`.
        stated_reason: likewise.
        seconds: what all of it took.
        reason: why it could not be made, as the end of "cannot be made, because ..."; else empty.
    """

    inside: np.ndarray
    scores: tuple[CoinScores, ...]
    delta: float
    stated_epsilon: float | None
    stated_reason: str
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Population:
    """Those about whom is asked: members, and people like them of whom no image is in the training split.

    Whoever takes no part in the corpus, as the patients of other sites where one site's set is asked about, is neither:
    such people are told from members by where they come from.

    Attributes:
        corpus: all of their images.
        members: int64, rows of the training split.
        others: int64, held-out rows whose people have no image there.
    """

    corpus: Corpus
    members: np.ndarray
    others: np.ndarray

    @classmethod
    def of(cls, corpus: Corpus, seen: Corpus, held_out: np.ndarray) -> Population:
        """From the splits of a corpus.

        Args:
            corpus: the whole one, none of whose training patients counts among the others.
            seen: as the method saw it, whose training images alone are members.
            held_out: int64, rows of the validation and test splits with which the audit compares.
        """
        apart = ~np.isin(corpus.groups[held_out], corpus.groups[corpus.rows("train")])
        return cls(corpus, seen.rows("train"), np.sort(held_out[apart]))


@dataclass(frozen=True)
class Released:
    """Class statistics that travel with the set, and what each image of the corpus is in them.

    Attributes:
        statistics: as they are.
        classes: int64 (N,), by row of the corpus, which of their classes it is of; -1 is none.
        units: int64 (N,), likewise, the unit whose part in them is bounded; an image of unknown unit is of its
            patient's.
        project: rows -> float64 (B, K), what was added up of these, each not yet shortened to the clip.
    """

    statistics: ClassStatistics
    classes: np.ndarray
    units: np.ndarray
    project: Callable[[np.ndarray], np.ndarray]


class Signals(Protocol):
    """What an attack may ask for; what needs training is trained then, once."""

    @property
    def facts(self) -> SetFacts:
        """What the set says of itself."""

    @property
    def level(self) -> float:
        """Confidence of every interval, such as 0.95."""

    @property
    def smallest_cell(self) -> int:
        """Fewest patients of a class or site for whom figures are shown."""

    @property
    def population(self) -> Population:
        """Those about whom is asked."""

    @property
    def search(self) -> CopySignals:
        """The set, its controls, and both splits of the corpus, as grey values."""

    @property
    def features(self) -> FeatureSpace:
        """The same as a network sees them that was trained on the originals."""

    @property
    def encoder_space(self) -> EncoderSpace:
        """The same as the encoder sees them that the set was made for."""

    @property
    def target_space(self) -> EncoderSpace:
        """The set's target vectors, and what its teacher sees in everything else."""

    @property
    def released(self) -> Released:
        """The class statistics that travel with the set."""

    @property
    def initialisation(self) -> Initialisation:
        """Which real images the set began as."""

    @property
    def networks(self) -> tuple[NetworkAnswers, ...]:
        """Answers of networks trained on the set and on each control."""

    @property
    def shadows(self) -> ShadowSignals:
        """Answers of networks on shadow distillations."""

    @property
    def one_run(self) -> OneRunSignals | None:
        """The set made once more with a coin for each of some people; None where none is asked for."""

    @property
    def text(self) -> TextFigures:
        """What was read in the set, and how well the reader sees there."""

    def rng(self, *names: str | int) -> np.random.Generator:
        """A generator of its own under these names, from the seed of the recipe."""


def cells_of(corpus: Corpus, rows: np.ndarray) -> Cells:
    """Which of the rows are of each class, and of each site where there are two or more."""
    cells: dict[tuple[CellTrait, str], np.ndarray] = {
        ("class", name): np.flatnonzero(corpus.labels[rows] == c) for c, name in enumerate(corpus.class_names)
    }
    if len(np.unique(corpus.sites[rows])) > 1:
        cells |= {
            ("site", name): np.flatnonzero(corpus.sites[rows] == s)
            for s, name in enumerate(corpus.site_names)
            if name != NOT_STATED
        }
    return cells
