"""The likelihood ratio attack (LiRA, Carlini 2022) over shadows, each in turn the target of the others."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from medistill.privacy.attack import Needs
from medistill.privacy.score_attack import Pairing, ScoreAttack, Scores
from medistill.privacy.signals import NetworkAnswers, Signals
from medistill.privacy.trials import Trials

Variant = Literal["in and out", "out only"]
"""The ratio of the densities with and without the image; or how improbable the answer is without it (Carlini's offline
variant), which needs no shadow that holds the image and does better where few do."""


def likelihood_ratio(confidence: np.ndarray, member: np.ndarray, variant: Variant) -> np.ndarray:
    """Scores (K, N) of N images in K shadows; row k takes the other shadows alone for its reference.

    With m_in, m_out the mean confidence of an image over the other n_in, n_out shadows that do and do not hold it, and
    s_in, s_out the standard deviation about these means over all images of these shadows (one for all: with few shadows
    an image has too few answers for its own, Carlini 2022, section VI), the score of an answer x is

        out only:    (x - m_out) / (s_out sqrt(1 + 1 / n_out))
        in and out:  log N(x; m_in, s_in^2 (1 + 1 / n_in)) - log N(x; m_out, s_out^2 (1 + 1 / n_out))

    where 1 + 1 / n allows for the mean being estimated.

    Args:
        confidence: (K, N), logit of the probability of the image's class, of the networks of each shadow.
        member: (K, N) bool, the shadow holds the image.
        variant: which of the two.

    Returns:
        float64 (K, N), NaN where the other shadows cannot give a mean.
    """
    centred = confidence.astype(np.float64) - confidence.mean(axis=0, dtype=np.float64)
    outside = _Others.of(centred, ~member)
    x_out = (centred - outside.mean) / outside.deviation
    if variant == "out only":
        return x_out
    inside = _Others.of(centred, member)
    x_in = (centred - inside.mean) / inside.deviation
    return (x_out**2 - x_in**2) / 2 + np.log(outside.deviation / inside.deviation)


class _Others:
    """What the other shadows say of each image, for each shadow.

    Attributes:
        mean: (K, N), NaN where none of the others counts.
        deviation: (K, N), of a further answer about it.
    """

    def __init__(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        self.mean, self.deviation = mean, deviation

    @classmethod
    def of(cls, values: np.ndarray, taken: np.ndarray) -> _Others:
        """From the answers (K, N) that are taken; sums over all less one's own leave each shadow out at once."""
        own = np.where(taken, values, 0.0)
        count = taken.sum(axis=0) - taken
        known = np.where(count > 0, count, np.nan)
        mean = (own.sum(axis=0) - own) / known
        squares = (own**2).sum(axis=0) - own**2 - known * mean**2
        freedom = np.maximum(count - 1, 0).sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = np.nansum(np.maximum(squares, 0.0), axis=1, keepdims=True) / freedom
        variance = np.where(variance > 0, variance, np.nan)
        return cls(mean, np.sqrt(variance * (1 + 1 / known)))


class LikelihoodRatio(ScoreAttack):
    """LiRA over K shadows, each in turn the target, so that members and non-members are the same patients by chance.

    All targets have one threshold.
    """

    needs: ClassVar[Needs] = "shadows"
    variant: ClassVar[Variant]

    def scores(self, signals: Signals) -> tuple[Scores, ...]:
        """Of every source."""
        return tuple(
            ratio_scores(one, self.variant, signals.rng("pairings", one.source, self.variant))
            for one in signals.shadows.answers
        )


def ratio_scores(answers: NetworkAnswers, variant: Variant, rng: np.random.Generator) -> Scores:
    """The scores on one source, with what the randomisation test needs.

    Args:
        answers: of the shadows; ``member`` is (K, N).
        variant: which likelihood ratio.
        rng: for the pairings.
    """

    def scores_of(member: np.ndarray) -> np.ndarray:
        return likelihood_ratio(answers.confidence, member, variant)

    trials = Trials(scores_of(answers.member), answers.member, answers.groups)
    return Scores(answers.source, trials, answers.cells, Pairing(scores_of, rng))


class InAndOut(LikelihoodRatio):
    """Does better with many shadows."""

    name, rank, variant = "likelihood ratio, in and out", 70, "in and out"
    display_name = name


class OutOnly(LikelihoodRatio):
    """Does better with few."""

    name, rank, variant = "likelihood ratio, out only", 80, "out only"
    display_name = name


ATTACKS = (InAndOut(), OutOnly())
