"""Shadow attacks: a score for every image in every shadow, each in turn the target, the others its reference."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np

from medistill.privacy.attack import Knowledge, Needs
from medistill.privacy.score_attack import Pairing, ScoreAttack, Scores
from medistill.privacy.signals import NetworkAnswers, Signals
from medistill.privacy.trials import Trials

Variant = Literal["in and out", "out only"]
"""Held against answers with and without the image; or against those without it alone (the offline variant), which needs
no shadow that holds the image."""


@dataclass(frozen=True)
class Others:
    """What the other shadows say of each image, for each shadow.

    Attributes:
        count: (K, N), how many of the others count.
        mean: (K, N), of their answers; NaN where there is none.
        squares: (K, N), their squared distances from this mean, summed; likewise.
    """

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, taken: np.ndarray) -> Self:
        """From the answers (K, N) that are taken; sums over all less one's own leave each shadow out at once."""
        own = np.where(taken, values, 0.0)
        count = taken.sum(axis=0) - taken
        known = np.where(count > 0, count, np.nan)
        mean = (own.sum(axis=0) - own) / known
        squares = (own**2).sum(axis=0) - own**2 - known * mean**2
        return cls(count, mean, np.maximum(squares, 0.0))

    @property
    def variance(self) -> np.ndarray:
        """About these means over all images, for each shadow (K, 1); NaN where no image has two answers."""
        freedom = np.maximum(self.count - 1, 0).sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = np.nansum(self.squares, axis=1, keepdims=True) / freedom
        return np.where((freedom > 0) & (variance > 0), variance, np.nan)


class ShadowAttack(ScoreAttack):
    """An attack over K shadows, each in turn the target, so that members and others are the same patients by chance.

    All targets have one threshold.
    """

    needs: ClassVar[Needs] = "shadows"
    knows: ClassVar[tuple[Knowledge, ...]] = ("set", "recipe", "person", "others")
    variant: ClassVar[Variant]
    pairings: ClassVar[str]
    """Names the random numbers of its randomisation test."""

    @abstractmethod
    def scores_of(self, answers: NetworkAnswers, member: np.ndarray) -> np.ndarray:
        """Scores (K, N), NaN where none can be given; row k takes the other shadows alone for its reference.

        Args:
            answers: of the shadows.
            member: (K, N) bool, the shadow holds the image.
        """

    def scores(self, signals: Signals) -> tuple[Scores, ...]:
        """Of every source."""
        return tuple(
            self.scored(one, signals.rng("pairings", one.source, self.pairings)) for one in signals.shadows.answers
        )

    def scored(self, answers: NetworkAnswers, rng: np.random.Generator) -> Scores:
        """The scores on one source, with what the randomisation test needs.

        Args:
            answers: of the shadows; ``member`` is (K, N).
            rng: for the pairings.
        """

        def scores_of(member: np.ndarray) -> np.ndarray:
            return self.scores_of(answers, member)

        trials = Trials(scores_of(answers.member), answers.member, answers.groups)
        return Scores(answers.source, trials, answers.cells, Pairing(scores_of, rng))
