"""The relative attack (RMIA, Zarifzadeh, ICML 2024): an answer is held against those about other people."""

from __future__ import annotations

import numpy as np

from medistill.evaluate.intervals import number_groups
from medistill.privacy.shadow_attack import Others, ShadowAttack, Variant
from medistill.privacy.signals import NetworkAnswers

GAMMA = 2.0
"""An image must be so many times as much more probable than expected as that of another person, to count (gamma)."""
OFFLINE_SLOPE = 0.3
"""Of what networks with an image say, as a line in what those without it do (a in the paper's appendix; 0.3 there for
CIFAR-10)."""


def relative_scores(
    confidence: np.ndarray, member: np.ndarray, groups: np.ndarray, variant: Variant, *, gamma: float = GAMMA
) -> np.ndarray:
    """Scores (K, N) of N images in K shadows, the same for all images of a patient that take part.

    With p the probability that the target gives to an image's class and q the one that was to be expected,

        in and out:  q = (p_in + p_out) / 2
        out only:    q = ((1 + a) p_out + 1 - a) / 2

    where p_in, p_out are means over the other shadows that do and do not hold it, the ratio of a patient is the
    geometric mean of p / q over the images (as in `Trials.by_patient`, only those that are held as the patient is). The
    score is the share of the other patients whom the target does not hold whose ratio is at least ``gamma`` times
    smaller.

    Args:
        confidence: (K, N), logit of p.
        member: (K, N) bool, the shadow holds the image.
        groups: int64 (N,), patients.
        variant: which of the two.
        gamma: at least 1.

    Returns:
        float64 (K, N), NaN where the other shadows cannot give a mean.
    """
    logit = confidence.astype(np.float64)
    p = 1 / (1 + np.exp(-np.clip(logit, -500, 500)))
    without = Others.of(p, ~member).mean
    if variant == "in and out":
        expected = (Others.of(p, member).mean + without) / 2
    else:
        expected = ((1 + OFFLINE_SLOPE) * without + 1 - OFFLINE_SLOPE) / 2
    with np.errstate(divide="ignore"):
        ratios = -np.logaddexp(0, -logit) - np.log(expected)
    numbered, patients = number_groups(groups)
    scored = (_among(*both, numbered, patients, np.log(gamma)) for both in zip(ratios, member, strict=True))
    return np.stack(list(scored))


def _among(ratios: np.ndarray, member: np.ndarray, groups: np.ndarray, patients: int, margin: float) -> np.ndarray:
    """Share of the other patients who are not held whose log ratio is smaller by ``margin``, for each image (N,)."""
    inside = np.bincount(groups, weights=member, minlength=patients) > 0
    taken = np.isfinite(ratios) & (member == inside[groups])
    count = np.bincount(groups[taken], minlength=patients)
    known = np.where(count > 0, count, np.nan)
    of_patient = np.bincount(groups[taken], weights=ratios[taken], minlength=patients) / known
    population = np.sort(of_patient[~inside & np.isfinite(of_patient)])
    below = np.searchsorted(population, of_patient - margin, side="right")
    own = (~inside) & (margin <= 0)
    others = len(population) - ~inside
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(np.isfinite(of_patient) & (others > 0), (below - own) / others, np.nan)
    return share[groups]


class Relative(ShadowAttack):
    """RMIA."""

    def scores_of(self, answers: NetworkAnswers, member: np.ndarray) -> np.ndarray:
        """See `relative_scores`."""
        return relative_scores(answers.confidence, member, answers.groups, self.variant)


class RelativeInAndOut(Relative):
    """Expects the mean of what networks with and without an image say."""

    name, rank, variant = "relative, in and out", 86, "in and out"
    plain_words = "With and without, beside other people"
    display_name, pairings = name, f"relative {variant}"


class RelativeOutOnly(Relative):
    """Needs no shadow that holds the image, and one that does not."""

    name, rank, variant = "relative, out only", 88, "out only"
    plain_words = "Without, beside other people"
    display_name, pairings = name, f"relative {variant}"


ATTACKS = (RelativeInAndOut(), RelativeOutOnly())
