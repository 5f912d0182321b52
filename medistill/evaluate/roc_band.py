"""ROC curves with a band: the mean curve of an arm's networks, and how far it moves where patients are resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medistill.evaluate.intervals import LEAST_VALID
from medistill.evaluate.metrics import roc_curve


def roc_band(
    scores: np.ndarray,
    positive: np.ndarray,
    groups: np.ndarray,
    counts: Sequence[np.ndarray],
    *,
    confidence: float,
    grid: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the networks of the empirical ROC curve, with pointwise percentile intervals of the patient bootstrap.

    A pointwise band covers the curve at each false positive rate, not the whole curve at once.

    Args:
        scores: (S, N), finite, of S networks; higher speaks for the class.
        positive: (N,) bool, with at least one case and one control.
        groups: (N,), patient of each image, 0..G-1.
        counts: chunks (G, R) of how often each patient was drawn, as `resamples` yields them.
        confidence: level of the intervals.
        grid: (F,), false positive rates, ascending, within 0..1.

    Returns:
        Sensitivity (F,), lower and upper limits (F,). Both limits are empty where there is one patient only, where more
        than one in twenty resamples lacks cases or controls, and where every resample has the same curve.
    """
    sensitivity = np.mean([roc_curve(network, positive, grid) for network in scores], axis=0)
    none = np.empty(0)
    if len(counts[0]) < 2:
        return sensitivity, none, none
    curves = [_Curve.of(network, positive, groups) for network in scores]
    replicates = np.concatenate(
        [np.mean([curve.sensitivity(chunk, grid) for curve in curves], axis=0) for chunk in counts]
    )
    valid = replicates[np.isfinite(replicates[:, 0])]
    if len(valid) < LEAST_VALID * len(replicates) or np.ptp(valid, axis=0).max() <= 1e-12:
        return sensitivity, none, none
    tail = (1 - confidence) / 2
    low, high = np.quantile(valid, [tail, 1 - tail], axis=0)
    return sensitivity, low, high


@dataclass(frozen=True)
class _RunningSum:
    """How much weight lies above each corner of a curve, summed between corners first: most images are no corner.

    Attributes:
        patients: (P,), patient of each image, by descending score.
        starts: (L,), where in ``patients`` each stretch between corners starts.
        positions: (K,), how many stretches lie above each corner.
    """

    patients: np.ndarray
    starts: np.ndarray
    positions: np.ndarray

    @classmethod
    def until(cls, corners: np.ndarray, patients: np.ndarray) -> _RunningSum:
        """Sums of the first ``corners`` (K,) images, ascending from 0 to all P."""
        levels, positions = np.unique(corners, return_inverse=True)
        return cls(patients, levels[:-1], positions)

    def of(self, counts: np.ndarray) -> np.ndarray:
        """The sums (R, K) under R weightings (G, R); float32 holds whole numbers exactly."""
        sums = np.zeros((len(self.starts) + 1, counts.shape[1]), counts.dtype)
        np.add.reduceat(np.take(counts, self.patients, axis=0), self.starts, axis=0, out=sums[1:])
        return np.add.accumulate(sums, axis=0, out=sums)[self.positions].T


@dataclass(frozen=True)
class _Curve:
    """One network's ROC curve under any weighting of the patients.

    Attributes:
        cases: weight of the cases above each of its K corners, the first at the origin.
        controls: weight of the controls above them.
    """

    cases: _RunningSum
    controls: _RunningSum

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray, groups: np.ndarray) -> _Curve:
        """Sort the images. Along levels of cases alone, or of controls alone, the curve is straight under any weights,
        so no corner is kept between them."""
        order = np.argsort(-scores, kind="stable")
        hits = positive[order]
        ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
        found, called = np.append(0, np.cumsum(hits)[ends]), np.append(0, np.cumsum(~hits)[ends])
        rises, runs = np.diff(found) > 0, np.diff(called) > 0
        straight = (rises[1:] != runs[1:]) & (rises[1:] == rises[:-1]) & (runs[1:] == runs[:-1])
        corners = np.append(True, np.append(~straight, True))
        return cls(
            _RunningSum.until(found[corners], groups[order[hits]]),
            _RunningSum.until(called[corners], groups[order[~hits]]),
        )

    def sensitivity(self, counts: np.ndarray, grid: np.ndarray) -> np.ndarray:
        """Sensitivity (R, F) at the false positive rates ``grid`` (F,) for R weightings ``counts`` (G, R) of the
        patients; NaN where a weighting has no case or no control."""
        hits, false = self.cases.of(counts), self.controls.of(counts)
        cases, controls = hits[:, -1:], false[:, -1:]
        apart = 2.0 * np.arange(counts.shape[1])[:, None]  # sets the weightings' curves side by side for one look-up
        rates = false.astype(np.float64) / np.maximum(controls, 1) + apart
        found = np.interp((grid + apart).ravel(), rates.ravel(), hits.ravel()).reshape(len(apart), len(grid))
        return np.where((cases > 0) & (controls > 0), found / np.maximum(cases, 1), np.nan)
