"""An arm's statistics on the test split under any weighting of the patients, and why some do not exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medistill.evaluate.intervals import number_groups
from medistill.evaluate.metrics import Ranking, youden_threshold
from medistill.evaluate.predictions import ArmPredictions, Truth


@dataclass(frozen=True)
class ArmStatistics:
    """One arm's statistics under R weightings of the patients, means over its networks; NaN where there is none.

    Attributes:
        accuracy: (R,).
        auc: (C, R).
        sensitivity: (C, R).
        specificity: (C, R).
    """

    accuracy: np.ndarray
    auc: np.ndarray
    sensitivity: np.ndarray
    specificity: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[ArmStatistics]) -> ArmStatistics:
        """Put chunks of weightings behind each other."""
        names = ("accuracy", "auc", "sensitivity", "specificity")
        return cls(*(np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in names))

    @property
    def macro_auc(self) -> np.ndarray:
        """Mean over the classes (R,)."""
        return self.auc.mean(axis=0)


class PreparedArm:
    """What is worked out once for an arm, before the patients are resampled.

    Attributes:
        predictions: the arm's predictions.
        groups: (N,), patients of the test split, numbered without gaps.
        patients: how many there are, G.
        no_auc: why a class has no area under the curve, one text a class, empty where it has one.
        no_threshold: why a class has no threshold, likewise.
        thresholds: of each class, one a network; empty where there is none.
        case_images: (C, G), each patient's images of each class.
        control_images: (C, G), each patient's other images.
    """

    def __init__(self, predictions: ArmPredictions, validation: Truth, test: Truth, class_names: Sequence[str]) -> None:
        """Choose thresholds on the validation split; sort and count the test split."""
        classes = range(len(class_names))
        self.predictions = predictions
        self.groups, self.patients = number_groups(test.groups)
        self.cases = test.labels == np.array(classes)[:, None]
        self.no_auc = [_no_auc(predictions, self.cases[c], name, c) for c, name in enumerate(class_names)]
        validation_cases = validation.labels == np.array(classes)[:, None]
        self.no_threshold = [
            _no_threshold(predictions, validation_cases[c], name, c) for c, name in enumerate(class_names)
        ]
        self.rankings = [
            [Ranking.of(scores[:, c], self.cases[c]) for scores in predictions.test] if not self.no_auc[c] else []
            for c in classes
        ]
        self.thresholds = [
            tuple(youden_threshold(scores[:, c], validation_cases[c]) for scores in predictions.validation)
            if not self.no_threshold[c]
            else ()
            for c in classes
        ]
        correct = (predictions.test.argmax(axis=2) == test.labels).mean(axis=0)
        called = np.stack(
            [
                (predictions.test[:, :, c] >= np.array(self.thresholds[c])[:, None]).mean(axis=0)
                if self.thresholds[c]
                else np.full(len(test.labels), np.nan)
                for c in classes
            ]
        )
        self.images = self._per_patient(np.ones((1, len(test.labels))))
        self.correct = self._per_patient(correct[None])
        self.case_images = self._per_patient(self.cases)
        self.control_images = self._per_patient(~self.cases)
        self.found = self._per_patient(np.where(self.cases, called, 0))
        self.spared = self._per_patient(np.where(self.cases, 0, 1 - called))

    def statistics(self, counts: np.ndarray) -> ArmStatistics:
        """The statistics under each weighting ``counts`` (G, R) of the patients."""
        absent = np.full(counts.shape[1], np.nan)
        aucs = [
            np.mean([ranking.auc(counts, self.groups) for ranking in rankings], axis=0) if rankings else absent
            for rankings in self.rankings
        ]
        weights = counts.astype(np.float64)
        return ArmStatistics(
            accuracy=_ratio(self.correct @ weights, self.images @ weights)[0],
            auc=np.stack(aucs),
            sensitivity=_ratio(self.found @ weights, self.case_images @ weights),
            specificity=_ratio(self.spared @ weights, self.control_images @ weights),
        )

    def network_accuracy(self, labels: np.ndarray) -> tuple[float, ...]:
        """Accuracy of each network."""
        return tuple(float(share) for share in (self.predictions.test.argmax(axis=2) == labels).mean(axis=1))

    def network_macro_auc(self) -> tuple[float, ...]:
        """Macro AUC of each network; empty where a class has none."""
        if any(self.no_auc):
            return ()
        once = np.ones((self.patients, 1))
        table = [[float(ranking.auc(once, self.groups)[0]) for ranking in rankings] for rankings in self.rankings]
        return tuple(float(value) for value in np.mean(table, axis=0))

    def _per_patient(self, images: np.ndarray) -> np.ndarray:
        """Sum (K, N) over the images of each patient: (K, G)."""
        return np.stack([np.bincount(self.groups, weights=row, minlength=self.patients) for row in images])


def _no_auc(predictions: ArmPredictions, cases: np.ndarray, name: str, c: int) -> str:
    if not cases.any():
        return f"class '{name}' has no image in the test split"
    if cases.all():
        return f"every image in the test split is of class '{name}'"
    if (np.ptp(predictions.test[:, :, c], axis=1) == 0).all():
        return f"every network of arm '{predictions.arm}' gives all test images the same score for class '{name}'"
    return ""


def _no_threshold(predictions: ArmPredictions, cases: np.ndarray, name: str, c: int) -> str:
    if not cases.any():
        return f"class '{name}' has no image in the validation split, so no threshold can be chosen"
    if cases.all():
        return f"every image in the validation split is of class '{name}', so no threshold can be chosen"
    if (np.ptp(predictions.validation[:, :, c], axis=1) == 0).all():
        return (
            f"every network of arm '{predictions.arm}' gives all validation images the same score for class '{name}', "
            "so no threshold can be chosen"
        )
    return ""


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
