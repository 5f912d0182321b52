"""The likelihood ratio with a conjugate prior on mean and variance, after BaVarIA (Brännvall 2026, arXiv 2603.11799).

The paper puts a normal-inverse-gamma prior under LiRA, and scores by the ratio of Student's predictive densities. Its
constants were not to be had; centres and weights of the prior here are ours, and so are its faults.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medistill.privacy.shadow_attack import Others, ShadowAttack, Variant
from medistill.privacy.signals import NetworkAnswers

PRIOR_FREEDOM = 4.0
"""Answers of an image that weigh as much as what all images together say of the variance."""
MOST_WEIGHT = 1000.0
"""Weight of a prior mean from which images do not seem to differ."""


@dataclass(frozen=True)
class Predictive:
    """Student's t of a further answer about each image.

    Attributes:
        freedom: (K, N), degrees of freedom.
        centre: (K, N).
        scale: (K, N).
    """

    freedom: np.ndarray
    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, others: Others, centre: np.ndarray, weight: np.ndarray, freedom: float) -> Predictive:
        """Normal-inverse-gamma posterior predictive (Murphy 2007, "Conjugate Bayesian analysis of the Gaussian").

        With a = freedom / 2, b = a s^2 and n answers of mean m and squares S: k = weight + n,
        a_n = a + n / 2, b_n = b + S / 2 + weight n (m - centre)^2 / 2k, and t has 2 a_n degrees of freedom, centre
        (weight centre + n m) / k and scale sqrt(b_n (k + 1) / (a_n k)).

        Args:
            others: the answers.
            centre: prior mean, (K, N) or (K, 1).
            weight: answers that the prior mean weighs as much as, (K, 1); with 0, an image without answers has NaN.
            freedom: the same of the prior variance, which is that of all images together.
        """
        n, mean, squares = others.count, np.nan_to_num(others.mean), np.nan_to_num(others.squares)
        k = np.where(weight + n > 0, weight + n, np.nan)
        a = (freedom + n) / 2
        b = freedom * others.variance / 2 + squares / 2 + weight * n * (mean - centre) ** 2 / (2 * k)
        return cls(2 * a, (weight * centre + n * mean) / k, np.sqrt(b * (k + 1) / (a * k)))

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Of values (K, N)."""
        from scipy.special import gammaln  # here, since whoever reads an audit loads this file

        half, t = (self.freedom + 1) / 2, (values - self.centre) / self.scale
        constant = gammaln(half) - gammaln(self.freedom / 2) - np.log(self.freedom * np.pi) / 2 - np.log(self.scale)
        return np.asarray(constant - half * np.log1p(t**2 / self.freedom))

    def log_odds_below(self, values: np.ndarray) -> np.ndarray:
        """Log odds that a further answer lies below values (K, N)."""
        from scipy.special import stdtr

        t = (values - self.centre) / self.scale
        return np.asarray(np.log(stdtr(self.freedom, t)) - np.log(stdtr(self.freedom, -t)))


def bayesian_ratio(
    confidence: np.ndarray,
    member: np.ndarray,
    variant: Variant,
    *,
    freedom: float = PRIOR_FREEDOM,
    flat_mean: bool = False,
) -> np.ndarray:
    """Scores (K, N) of N images in K shadows; row k takes the other shadows alone for its reference.

    In and out: log density of the answer under the predictive of the shadows that hold the image, less that under the
    others'. Out only: the log odds that an answer without the image lies below.

    The prior's variance is that of all images together (`Others.variance`). Without the image, the prior mean is that
    of all images; with it, the image's own mean without it and the mean shift of all images. A prior mean weighs as
    many answers as its spread from image to image says: the variance of an answer over that of the means (method of
    moments). Without bound to ``freedom``, and flat in the mean, this is `likelihood_ratio` (out only up to a rising
    function where all images have the same number of answers).

    Args:
        confidence: (K, N), logit of the probability of the image's class.
        member: (K, N) bool, the shadow holds the image.
        variant: which of the two.
        freedom: weight of the prior variance, in answers.
        flat_mean: the prior knows nothing of the means.

    Returns:
        float64 (K, N), NaN where no image has two answers of the other shadows on one side.
    """
    values = confidence.astype(np.float64) - confidence.mean(dtype=np.float64)
    outside = Others.of(values, ~member)
    centre, spread = _moments(outside.mean, outside.variance / np.maximum(outside.count, 1))
    without = Predictive.of(outside, centre, _weight(outside, spread, flat=flat_mean), freedom)
    if variant == "out only":
        return without.log_odds_below(values)
    inside = Others.of(values, member)
    noise = inside.variance / np.maximum(inside.count, 1) + outside.variance / np.maximum(outside.count, 1)
    shift, spread = _moments(inside.mean - outside.mean, noise)
    held = Predictive.of(inside, without.centre + shift, _weight(inside, spread, flat=flat_mean), freedom)
    return held.log_density(values) - without.log_density(values)


def _moments(means: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over images of means (K, N), and their variance less that of the noise in them, each (K, 1); NaN if none."""
    known = np.isfinite(means)
    count = np.where(known.sum(axis=1, keepdims=True) > 1, known.sum(axis=1, keepdims=True), np.nan)
    centre = np.where(known, means, 0.0).sum(axis=1, keepdims=True) / count
    spread = np.where(known, (means - centre) ** 2 - noise, 0.0).sum(axis=1, keepdims=True) / count
    return centre, spread


def _weight(others: Others, spread: np.ndarray, *, flat: bool) -> np.ndarray:
    """Answers that a prior mean weighs as much as (K, 1); at most `MOST_WEIGHT`, where images do not differ."""
    if flat:
        return np.zeros_like(spread)
    # Where there is no variance there is no score either.
    return others.variance / np.maximum(spread, others.variance / MOST_WEIGHT)


class BayesianRatio(ShadowAttack):
    """BaVarIA's kin."""

    def scores_of(self, answers: NetworkAnswers, member: np.ndarray) -> np.ndarray:
        """See `bayesian_ratio`."""
        return bayesian_ratio(answers.confidence, member, self.variant)


class BayesianInAndOut(BayesianRatio):
    """An image that no other shadow holds is scored by what holding does to the others."""

    name, rank, variant = "Bayesian likelihood ratio, in and out", 82, "in and out"
    plain_words = "With and without, steadied by all answers"
    display_name, pairings = name, f"bayesian {variant}"


class BayesianOutOnly(BayesianRatio):
    """Needs no shadow that holds the image."""

    name, rank, variant = "Bayesian likelihood ratio, out only", 84, "out only"
    plain_words = "Without, steadied by all answers"
    display_name, pairings = name, f"bayesian {variant}"


ATTACKS = (BayesianInAndOut(), BayesianOutOnly())
