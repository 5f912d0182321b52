"""The likelihood ratio attack (LiRA, Carlini 2022) over shadows, each in turn the target of the others."""

from __future__ import annotations

import numpy as np

from medistill.privacy.shadow_attack import Others, ShadowAttack, Variant
from medistill.privacy.signals import NetworkAnswers


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
    mean, deviation = _further(Others.of(centred, ~member))
    x_out, outside = (centred - mean) / deviation, deviation
    if variant == "out only":
        return x_out
    mean, deviation = _further(Others.of(centred, member))
    x_in = (centred - mean) / deviation
    return (x_out**2 - x_in**2) / 2 + np.log(outside / deviation)


def _further(others: Others) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (K, N) of a further answer about each image."""
    known = np.where(others.count > 0, others.count, np.nan)
    return others.mean, np.sqrt(others.variance * (1 + 1 / known))


class LikelihoodRatio(ShadowAttack):
    """LiRA."""

    def scores_of(self, answers: NetworkAnswers, member: np.ndarray) -> np.ndarray:
        """See `likelihood_ratio`."""
        return likelihood_ratio(answers.confidence, member, self.variant)


class InAndOut(LikelihoodRatio):
    """Does better with many shadows."""

    name, rank, variant = "likelihood ratio, in and out", 70, "in and out"
    plain_words = "Sets made with and without the person"
    display_name, pairings = name, variant


class OutOnly(LikelihoodRatio):
    """Does better with few."""

    name, rank, variant = "likelihood ratio, out only", 80, "out only"
    plain_words = "Sets made without the person"
    display_name, pairings = name, variant


ATTACKS = (InAndOut(), OutOnly())
