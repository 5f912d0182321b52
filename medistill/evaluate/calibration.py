"""Calibration: how far the networks' probabilities are from what is seen, as numbers and as a curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medistill.evaluate.curve import CalibrationCurve
from medistill.evaluate.intervals import Estimate, proportion_estimate
from medistill.recipe.arms import ArmName

ERROR_BINS = 15
"""Bins of the expected calibration error, as Guo (2017) and most who report it take."""
CURVE_BINS = 10
"""Most bins of a calibration curve."""
CURVE_BIN_IMAGES = 20
"""Fewest images a bin of a calibration curve is meant to have; a small split gets fewer bins."""


def brier(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared distance of each image's probabilities from its class (Brier 1950), 0 to 2, mean over the networks (N,).

    The score is its mean over the images: mean_n sum_c (p_nc - [y_n = c])^2.

    Args:
        probabilities: (S, N, C), of S networks.
        labels: (N,), index into the classes.
    """
    truth = labels[:, None] == np.arange(probabilities.shape[2])
    return np.square(probabilities.astype(np.float64) - truth).sum(axis=2).mean(axis=0)


def class_brier(probability: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Squared distance of one class's probability from 0 or 1 for each image, mean over the networks (N,).

    Args:
        probability: (S, N), of the class.
        positive: (N,) bool, the image is of the class.
    """
    return np.square(probability.astype(np.float64) - positive).mean(axis=0)


def calibration_error(probability: np.ndarray, outcome: np.ndarray, bins: int = ERROR_BINS) -> Estimate:
    """Expected calibration error (Naeini 2015), mean over the networks, without an interval.

        ECE = sum_b n_b / N |mean probability in bin b - share of bin b where the outcome holds|

    over bins ((b - 1) / B, b / B] of equal width. Sampling noise alone makes every bin's distance positive, so the
    error of a finite test set is too large, and that of a resample larger still. In a simulation (200 test sets a cell,
    `test_calibration_error_has_no_honest_interval` repeats a part) the percentile interval at 95 % covered the true
    error of a well-calibrated classifier in 0 % of test sets of 300, 1,000 and 5,000 images, the reflected interval
    2 ECE - quantile in 36, 48 and 44 %, subtracting the bootstrap's bias in at most 42 %. Where the true error is 0.03
    and there are 300 images the best of them covered it in 82 %. The larger the true error, the nearer all come to
    95 %; but whether it is large is what one wants to know, so none is given.

    Args:
        probability: (S, N), of the class; or the largest one, for the calibration of the decision.
        outcome: (N,) or (S, N) bool, the image is of the class; or each network's decision is right.
        bins: B.
    """
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    outcomes = np.broadcast_to(outcome, probability.shape)
    errors = []
    for claimed, seen in zip(probability.astype(np.float64), outcomes, strict=True):
        distance = np.bincount(np.searchsorted(edges, claimed, side="left"), weights=claimed - seen, minlength=bins)
        errors.append(np.abs(distance).sum() / len(claimed))
    return Estimate(
        float(np.mean(errors)),
        reason="a calibration error grows by chance alone, and more so in resamples, so no interval holds its level",
    )


def calibration_curve(
    probability: np.ndarray,
    positive: np.ndarray,
    groups: np.ndarray,
    counts: Sequence[np.ndarray],
    *,
    arm: ArmName,
    class_name: str,
    confidence: float,
    smallest_cell: int,
) -> CalibrationCurve:
    """Share of a class among images that get about the same probability, with limits of the patient bootstrap.

    The probabilities of all networks are pooled and cut into bins of equally many; equal probabilities stay in one bin.
    Limits are pointwise; the bins stay as they are while patients are resampled.

    Args:
        probability: (S, N), of the class.
        positive: (N,) bool, the image is of the class.
        groups: (N,), patient of each image, 0..G-1.
        counts: chunks (G, R) of how often each patient was drawn, as `resamples` yields them.
        arm: whose networks these are.
        class_name: the class.
        confidence: level of the limits.
        smallest_cell: bins with an image of fewer patients are left out.
    """
    networks, images = probability.shape
    pooled = probability.astype(np.float64).ravel()
    bins = int(np.clip(images // CURVE_BIN_IMAGES, 1, CURVE_BINS))
    edges = np.unique(np.quantile(pooled, np.arange(1, bins) / bins, method="lower"))
    bins_of = np.searchsorted(edges, pooled, side="left")
    patients = len(counts[0])
    cell = bins_of * patients + np.tile(groups, networks)

    def by_patient(weights: np.ndarray) -> np.ndarray:
        """Sum (S * N,) over each bin's images of each patient: (bins, G)."""
        sums = np.bincount(cell, weights=weights, minlength=(len(edges) + 1) * patients)
        return sums.reshape(len(edges) + 1, patients)

    size, claimed, seen = by_patient(np.ones(len(pooled))), by_patient(pooled), by_patient(np.tile(positive, networks))
    members = (size > 0).sum(axis=1)
    shown = members >= max(1, smallest_cell)
    size, claimed, seen, members = size[shown], claimed[shown], seen[shown], members[shown]
    total = size.sum(axis=1)
    observed = seen.sum(axis=1) / total
    limits = [
        proportion_estimate(float(value), replicates, patients=int(count), confidence=confidence)
        for value, replicates, count in zip(observed, _shares(seen, size, counts), members, strict=True)
    ]
    lows, highs = [limit.low for limit in limits], [limit.high for limit in limits]
    complete = all(limit.low is not None for limit in limits)
    return CalibrationCurve(
        arm=arm,
        class_name=class_name,
        predicted=tuple((claimed.sum(axis=1) / total).tolist()),
        observed=tuple(observed.tolist()),
        low=tuple(low for low in lows if low is not None and complete),
        high=tuple(high for high in highs if high is not None and complete),
        images=tuple((total / networks).tolist()),
    )


def _shares(part: np.ndarray, whole: np.ndarray, counts: Sequence[np.ndarray]) -> np.ndarray:
    """Share (B, R) under every weighting of the patients, from whole sums (B, G) a patient; NaN where none is drawn."""
    both = np.concatenate([part, whole]).astype(np.float32)
    drawn = np.concatenate([both @ chunk for chunk in counts], axis=1).astype(np.float64)
    some, all_ = drawn[: len(part)], drawn[len(part) :]
    return np.divide(some, all_, out=np.full(all_.shape, np.nan), where=all_ > 0)
