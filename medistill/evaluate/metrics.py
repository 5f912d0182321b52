"""Metrics: area under the ROC curve, thresholds and operating points, vectorised over bootstrap weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranking:
    """One network's scores for one class, sorted once so that many weightings of the images are cheap.

    The area under the ROC curve is the probability that a random case scores above a random control, ties counting
    half (Bamber 1975). With weights w it is

        sum_i w_i (below_i + w(tied_i) / 2) / (sum_i w_i * sum_j w_j),

    i over cases, j over controls, where below_i is the weight of the controls that score less than case i.

    Attributes:
        cases: indices (P,) of the images of the class.
        controls: indices (Q,) of the other images, by ascending score.
        lower: (P,) how many of ``controls`` score less than each case.
        upper: (P,) how many score at most as much.
    """

    cases: np.ndarray
    controls: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray) -> Ranking:
        """Sort finite ``scores`` (N,) of cases and controls apart; ``positive`` (N,) is true for cases."""
        cases, controls = np.flatnonzero(positive), np.flatnonzero(~positive)
        controls = controls[np.argsort(scores[controls], kind="stable")]
        sorted_scores = scores[controls]
        return cls(
            cases,
            controls,
            np.searchsorted(sorted_scores, scores[cases], side="left"),
            np.searchsorted(sorted_scores, scores[cases], side="right"),
        )

    def auc(self, counts: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Area under the curve (R,) for R weightings; NaN where a weighting has no case or no control.

        Args:
            counts: (G, R), weight of each patient in each weighting; float32 sums of whole numbers are exact.
            groups: (N,), patient of each image, 0..G-1.
        """
        below = np.zeros((len(self.controls) + 1, counts.shape[1]), counts.dtype)
        np.take(counts, groups[self.controls], axis=0, out=below[1:], mode="clip")
        np.add.accumulate(below, axis=0, out=below)
        weights = counts[groups[self.cases]]
        hits = np.einsum("pr,pr->r", weights, below[self.lower], dtype=np.float64)
        if not np.array_equal(self.lower, self.upper):
            hits = (hits + np.einsum("pr,pr->r", weights, below[self.upper], dtype=np.float64)) / 2
        pairs = weights.sum(axis=0, dtype=np.float64) * below[-1]
        return np.divide(hits, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Area under the ROC curve of ``scores`` (N,), ties counting half; NaN without a case or without a control.

    Args:
        scores: (N,), finite; higher speaks for the class.
        positive: (N,) bool, the image is of the class.
        weights: (N,), not negative; every image counts once where left out.
    """
    column = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    return float(Ranking.of(scores, positive).auc(column[:, None], np.arange(len(scores)))[0])


def macro_auc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean of the one-vs-rest areas under the ROC curve, over the classes with both cases and controls in ``labels``.

    It chooses among images on the validation split, where a missing class must not stop the choice; None where no class
    is left.

    Args:
        probabilities: (N, C), finite.
        labels: (N,), index into the classes.
    """
    areas = [auc(probabilities[:, c], labels == c) for c in range(probabilities.shape[1])]
    present = [area for area in areas if np.isfinite(area)]
    return float(np.mean(present)) if present else None


def youden_threshold(scores: np.ndarray, positive: np.ndarray) -> float:
    """The threshold with the largest sensitivity + specificity - 1 (Youden 1950), for the rule "score >= threshold".

    Thresholds tried are the lowest score and the middles between neighbouring scores, so the choice does not sit on an
    image of the validation split. Of equals the lowest is taken: the more sensitive one.

    Args:
        scores: (N,), finite, with at least one case and one control.
        positive: (N,) bool.
    """
    levels, positions = np.unique(scores.astype(np.float64), return_inverse=True)
    cases = np.bincount(positions, weights=positive, minlength=len(levels))
    controls = np.bincount(positions, weights=~positive, minlength=len(levels))
    sensitivity = 1 - (np.cumsum(cases) - cases) / cases.sum()
    specificity = (np.cumsum(controls) - controls) / controls.sum()
    best = int(np.argmax(np.round(sensitivity + specificity, 12)))
    return float(levels[0] if best == 0 else (levels[best - 1] + levels[best]) / 2)


def specificity_threshold(scores: np.ndarray, positive: np.ndarray, target: float) -> float:
    """The lowest threshold that leaves at least ``target`` of the controls alone, for the rule "score >= threshold".

    It lies in the middle between neighbouring scores, as for `youden_threshold`; above the highest score where even
    that one belongs to too many controls.

    Args:
        scores: (N,), finite, with at least one control.
        positive: (N,) bool.
        target: specificity, between 0 and 1.
    """
    levels, positions = np.unique(scores.astype(np.float64), return_inverse=True)
    controls = np.bincount(positions, weights=~positive, minlength=len(levels))
    spared = np.append(0.0, np.cumsum(controls)) / controls.sum()  # by a threshold below level k
    first = int(np.argmax(np.round(spared, 12) >= target))
    if first == len(levels):
        return float(np.nextafter(levels[-1], np.inf))
    return float(levels[0] if first == 0 else (levels[first - 1] + levels[first]) / 2)


def roc_curve(scores: np.ndarray, positive: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Sensitivity at each false positive rate of ``grid`` (F,), linear between the points of the empirical curve.

    Args:
        scores: (N,), finite, with at least one case and one control.
        positive: (N,) bool.
        grid: (F,), ascending, within 0..1.
    """
    levels, positions = np.unique(-scores, return_inverse=True)
    hits = np.cumsum(np.bincount(positions, weights=positive, minlength=len(levels))) / positive.sum()
    false = np.cumsum(np.bincount(positions, weights=~positive, minlength=len(levels))) / (~positive).sum()
    false, hits = np.append(0.0, false), np.append(0.0, hits)
    return np.interp(grid, false, hits)  # where the curve is vertical this takes its highest point
