"""Distance in features: how near a person's image lies to the distilled ones in the features of the set's encoder.

A set whose features are means of a few people's lies nearer to these than to others, whatever its pixels look like.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from medistill.privacy.attack import Knowledge
from medistill.privacy.attacks.distance import distance_scores
from medistill.privacy.copy_search import AuditSubject
from medistill.privacy.membership import Source
from medistill.privacy.score_attack import ScoreAttack, Scores
from medistill.privacy.signals import SetFacts, Signals, cells_of

if TYPE_CHECKING:
    from torch import Tensor

    from medistill.privacy.encoder_space import EncoderSpace

ONE_IMAGE = "the set is one image, and there is no other distance to hold the distance to it against"
ALL_ALIKE = "the encoder sees no difference among the images of a class"
BOTH: tuple[Source, ...] = ("distilled", "random")


@dataclass(frozen=True)
class Measure:
    """How features are compared where some people are asked about.

    Attributes:
        asked: bool, by row of the corpus, who they are.
        matrix: (D, D) by which features are multiplied before distances are taken; None leaves them as they are.
    """

    asked: np.ndarray
    matrix: Tensor | None

    def seen(self, features: Tensor) -> Tensor:
        """Features (B, D) as they are compared."""
        return features if self.matrix is None else features @ self.matrix


class InFeatures(ScoreAttack):
    """Made on features alone, of a set for an encoder; random training images must be found by it."""

    needs = "set"
    knows: ClassVar[tuple[Knowledge, ...]] = ("set", "person", "encoder")
    plain_words = "Near to the set as the encoder sees it"

    def applies(self, facts: SetFacts) -> bool:
        """Of a set that was made for an encoder."""
        return facts.for_encoder

    @abstractmethod
    def measures(self, signals: Signals) -> tuple[Measure, ...]:
        """By which features are compared, of everybody once; none where they do not vary."""

    def space(self, signals: Signals) -> EncoderSpace:
        """The features."""
        return signals.encoder_space

    def scores(self, signals: Signals) -> tuple[Scores, ...]:
        """Of the set, and of as many random training images."""
        of_set, random = signals.search.subjects[:2]
        if len(of_set.labels) == 1:
            return tuple(Scores.impossible(source, ONE_IMAGE) for source in BOTH)
        measures, space = self.measures(signals), self.space(signals)
        if not measures:
            return tuple(Scores.impossible(source, ALL_ALIKE) for source in BOTH)
        return (
            _scores("distilled", of_set, space, signals.population.members, measures, signals),
            _scores("random", random, space, random.rows, measures, signals),
        )


def _scores(
    source: Source,
    subject: AuditSubject,
    space: EncoderSpace,
    members: np.ndarray,
    measures: tuple[Measure, ...],
    signals: Signals,
) -> Scores:
    """Scores of members and of everybody else (see `distance_scores`), each by the measure that is for them.

    Args:
        source: what is attacked.
        subject: its labels and weights.
        space: with what the encoder sees in it and in everybody.
        members: rows of the corpus.
        measures: by which features are compared.
        signals: who the others are.
    """
    people, read = signals.population, space.read
    features = space.subjects[("distilled", "random").index(source)]
    corpus, rows = people.corpus, np.concatenate([members, people.others])
    scores = np.full(len(rows), np.nan)
    for measure in measures:
        taken = np.flatnonzero(measure.asked[rows])

        def compared(some: np.ndarray, measure: Measure = measure) -> Tensor:
            return measure.seen(read(some))

        of, labels = rows[taken], corpus.labels[rows[taken]]
        images = measure.seen(features)
        scores[taken] = distance_scores(images, subject.labels, subject.weights, of, labels, compared)
    member = np.arange(len(rows)) < len(members)
    return Scores.asked_once(source, scores, member, corpus.groups[rows], cells_of(corpus, rows))


class DistanceInFeatures(InFeatures):
    """By the encoder's own scale."""

    name, display_name, rank = "distance in features", "distance in features", 62
    remark = (
        "The distance in features trains no network either: it asks how near a person’s image lies to the distilled "
        "images as the encoder sees both."
    )

    def measures(self, signals: Signals) -> tuple[Measure, ...]:
        """No matrix, for everybody."""
        return (Measure(np.ones(len(signals.population.corpus.labels), bool), None),)


class WhitenedDistance(InFeatures):
    """By how people of one class differ, as an adversary knows it who has images of other people of the same kind.

    A mean of n people keeps its distance of sqrt(2 D) / n deviations (see `distance_scores`) only over directions that
    vary alike, and few of an encoder's features vary much; whitened, all D count. The covariance is never that of the
    people who are asked about, or members would be nearer for having been counted: it is of the other half of the
    patients.

    Attributes:
        share: of the identity in the covariance (see `EncoderSpace.whitening`).
    """

    name, display_name, rank = "whitened distance in features", "whitened distance in features", 64
    share: ClassVar[float | None] = None
    knows: ClassVar[tuple[Knowledge, ...]] = ("set", "person", "others", "encoder")
    plain_words = "The same, against how people differ"
    remark = (
        "Whitened, wholly or in part, it is measured in units of how people of a class differ, which half of the "
        "patients tell of the other."
    )

    def measures(self, signals: Signals) -> tuple[Measure, ...]:
        """Of either half of the patients, what the other half says."""
        people, space = signals.population, self.space(signals)
        rows = np.concatenate([people.members, people.others])
        halves = _halves(people.corpus.groups, rows, signals.rng("halves of patients"))
        found = tuple(Measure(half, space.whitening(rows[~half[rows]], self.share)) for half in halves)
        return () if any(one.matrix is None for one in found) else found


class PartlyWhitenedDistance(WhitenedDistance):
    """Between the plain distance and the whitened one: directions count the more alike, the more people vary in them.

    The features of rendered images are off the means that they were made for by more than people vary in most
    directions, so that there is nothing to find in these but what rendering left.
    """

    name, display_name, rank = "partly whitened distance in features", "partly whitened distance in features", 66
    share = 0.9
    plain_words = "The same, in part against how people differ"
    remark = ""


def _halves(groups: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Who of the corpus is in either random half of the patients of ``rows``, bool each."""
    patients = np.unique(groups[rows])
    first = np.isin(groups, rng.permutation(patients)[: len(patients) // 2])
    return first, ~first


ATTACKS = (DistanceInFeatures(), WhitenedDistance(), PartlyWhitenedDistance())
