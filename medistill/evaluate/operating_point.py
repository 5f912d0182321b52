"""Operating points: thresholds chosen on the validation split, and what they give under any weighting of patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medistill.evaluate.evaluation import Rule
from medistill.evaluate.metrics import specificity_threshold, youden_threshold

MEASURES = ("sensitivity", "specificity", "ppv", "npv", "f1", "balanced_accuracy")
"""What is measured at an operating point, in this order."""


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of one rule.

    Attributes:
        rule: how they were chosen.
        target: the specificity that was wanted on the validation split; None for another rule.
        of_class: one tuple a class with one threshold a network; empty where none could be chosen.
    """

    rule: Rule
    target: float | None
    of_class: tuple[tuple[float, ...], ...]

    @classmethod
    def choose(
        cls,
        rule: Rule,
        target: float | None,
        scores: np.ndarray,
        cases: np.ndarray,
        reasons: Sequence[str],
    ) -> Thresholds:
        """Choose on the validation split.

        Args:
            rule: how.
            target: the specificity that the rule "specificity" reaches.
            scores: (S, N, C), finite.
            cases: (C, N) bool, the image is of the class.
            reasons: one a class, why it has no threshold; empty where it has one.
        """

        def threshold(of_class: np.ndarray, positive: np.ndarray) -> float:
            if target is None:
                return youden_threshold(of_class, positive)
            return specificity_threshold(of_class, positive, target)

        return cls(
            rule,
            target,
            tuple(
                tuple(threshold(network[:, c], cases[c]) for network in scores) if not reason else ()
                for c, reason in enumerate(reasons)
            ),
        )


class Calls:
    """Which test images each network calls, counted for each patient so that weightings of patients are cheap.

    Attributes:
        thresholds: from which an image is called.
        patients_called: (C,), patients with an image that is called, the least over the networks.
        patients_spared: (C,), patients with an image that is not, likewise.
    """

    def __init__(self, thresholds: Thresholds, scores: np.ndarray, cases: np.ndarray, groups: np.ndarray) -> None:
        """Count.

        Args:
            thresholds: of S networks and C classes.
            scores: (S, N, C).
            cases: (C, N) bool.
            groups: (N,), patients 0..G-1.
        """
        self.thresholds = thresholds
        networks, classes, patients = len(scores), len(cases), int(groups.max()) + 1
        self._true = np.full((classes, networks, patients), np.nan, np.float32)
        self._false = np.full((classes, networks, patients), np.nan, np.float32)
        self.patients_called = np.zeros(classes, np.int64)
        self.patients_spared = np.zeros(classes, np.int64)
        for c, chosen in enumerate(thresholds.of_class):
            if not chosen:
                continue
            called = scores[:, :, c] >= np.array(chosen)[:, None]
            for s, row in enumerate(called):
                self._true[c, s] = np.bincount(groups, weights=row & cases[c], minlength=patients)
                self._false[c, s] = np.bincount(groups, weights=row & ~cases[c], minlength=patients)
            images = np.bincount(groups, minlength=patients)
            calls = self._true[c] + self._false[c]
            self.patients_called[c] = (calls > 0).sum(axis=1).min()
            self.patients_spared[c] = (calls < images).sum(axis=1).min()

    def measures(self, counts: np.ndarray, cases: np.ndarray, controls: np.ndarray) -> np.ndarray:
        """The measures (len(`MEASURES`), C, R), means over the networks; NaN where one network has none.

        Args:
            counts: (G, R), weight of each patient in each of R weightings.
            cases: (C, R), weighted images of each class.
            controls: (C, R), weighted other images.
        """
        found, false = self._true @ counts, self._false @ counts  # (C, S, R)
        cases, controls = cases[:, None], controls[:, None]
        sensitivity = _ratio(found, cases)
        specificity = _ratio(controls - false, controls)
        measures = (
            sensitivity,
            specificity,
            _ratio(found, found + false),
            _ratio(controls - false, cases - found + controls - false),
            _ratio(2 * found, cases + found + false),
            (sensitivity + specificity) / 2,
        )
        return np.stack([measure.mean(axis=1) for measure in measures])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole in double precision, NaN where the whole is 0 or not known."""
    part, whole = np.broadcast_arrays(part.astype(np.float64), whole.astype(np.float64))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
