"""Decision curves: what acting on a probability is worth, at every exchange rate of misses for false alarms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medistill.evaluate.curve import DecisionCurve
from medistill.recipe.arms import ArmName

THRESHOLDS = np.arange(1, 91) / 100
"""Probabilities from which one acts. At 0.9 a false alarm weighs as much as nine missed images; beyond that a single
false alarm outweighs all else."""


def decision_curve(
    probability: np.ndarray,
    positive: np.ndarray,
    groups: np.ndarray,
    counts: Sequence[np.ndarray],
    *,
    arm: ArmName,
    class_name: str,
    confidence: float,
    thresholds: np.ndarray = THRESHOLDS,
) -> DecisionCurve:
    """Net benefit of acting where the probability reaches t (Vickers and Elkin 2006), with patient-bootstrap limits.

        net benefit = TP / N - FP / N * t / (1 - t),

    mean over the networks; limits are pointwise percentiles of the resamples. The prevalence is that of the images.

    Args:
        probability: (S, N), of the class.
        positive: (N,) bool, the image is of the class.
        groups: (N,), patient of each image, 0..G-1.
        counts: chunks (G, R) of how often each patient was drawn, as `resamples` yields them.
        arm: whose networks these are.
        class_name: the class.
        confidence: level of the limits.
        thresholds: (T,), t, ascending, above 0 and below 1.
    """
    networks, images = probability.shape
    patients = len(counts[0])
    odds = thresholds / (1 - thresholds)
    reached = np.searchsorted(thresholds, probability.astype(np.float64).ravel(), side="right")
    cell = np.tile(groups, networks) * (len(thresholds) + 1) + reached

    def called(which: np.ndarray) -> np.ndarray:
        """Images of each patient that are acted on at each threshold, mean over the networks: (G, T)."""
        exactly = np.bincount(cell, weights=np.tile(which, networks), minlength=patients * (len(thresholds) + 1))
        at_least = np.cumsum(exactly.reshape(patients, -1)[:, ::-1], axis=1)[:, ::-1]
        return at_least[:, 1:] / networks

    benefit = called(positive) - called(~positive) * odds
    prevalence = float(positive.mean())
    low, high = _band(benefit, np.bincount(groups, minlength=patients), counts, confidence)
    return DecisionCurve(
        arm=arm,
        class_name=class_name,
        threshold=tuple(thresholds.tolist()),
        net_benefit=tuple((benefit.sum(axis=0) / images).tolist()),
        low=low,
        high=high,
        treat_all=tuple((prevalence - (1 - prevalence) * odds).tolist()),
    )


def _band(
    benefit: np.ndarray, images: np.ndarray, counts: Sequence[np.ndarray], confidence: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Percentile limits (T,) of net benefit from each patient's sum (G, T) and images (G,); empty for one patient."""
    if len(images) < 2:
        return (), ()
    sums = np.concatenate([benefit, images[:, None]], axis=1).astype(np.float32).T
    drawn = np.concatenate([sums @ chunk for chunk in counts], axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn[:-1] / drawn[-1], [tail, 1 - tail], axis=1)
    return tuple(low.tolist()), tuple(high.tolist())
