"""An arm's statistics on the test split under any weighting of the patients, and why some do not exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from medistill.evaluate.calibration import brier, class_brier
from medistill.evaluate.delong import Components
from medistill.evaluate.evaluation import Rule
from medistill.evaluate.intervals import number_groups
from medistill.evaluate.metrics import Ranking
from medistill.evaluate.operating_point import Calls, Thresholds
from medistill.evaluate.pairs import FEW, Pairs
from medistill.evaluate.predictions import ArmPredictions, Truth

NO_THRESHOLD = "every image was tested, so that none was left to choose a threshold on"
"""Why there are no operating points where the validation split is empty."""


@dataclass(frozen=True)
class ArmStatistics:
    """One arm's statistics under R weightings of the patients, means over its networks; NaN where there is none.

    Attributes:
        accuracy: (R,).
        balanced_accuracy: (R,), over the classes that the test split has.
        macro_auc: (R,), over the classes that can be told from others in the test split.
        brier: (R,).
        auc: (C, R).
        recall: (C, R), share of a class's images that are put into it.
        class_brier: (C, R).
        points: (K, M, C, R), for K rules the M measures of `MEASURES`.
    """

    accuracy: np.ndarray
    balanced_accuracy: np.ndarray
    macro_auc: np.ndarray
    brier: np.ndarray
    auc: np.ndarray
    recall: np.ndarray
    class_brier: np.ndarray
    points: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[ArmStatistics]) -> ArmStatistics:
        """Put chunks of weightings behind each other."""
        return cls(*(np.concatenate([getattr(part, one.name) for part in parts], axis=-1) for one in fields(cls)))


class Rankings:
    """The scores of every network of an arm for every class, compared once so that many weightings are cheap.

    Attributes:
        reasons: one a class, why it has no area under the curve; empty where it has one.
        classes: those with images in the test split, and others beside them: the macro AUC is their mean.
        no_macro: why there is no macro AUC; empty where there is one.
    """

    def __init__(
        self, predictions: ArmPredictions, cases: np.ndarray, class_names: Sequence[str], groups: np.ndarray
    ) -> None:
        """Compare; ``cases`` (C, N) is true where a test image is of the class, ``groups`` (N,) are 0..G-1."""
        self.reasons = tuple(
            _no_auc(predictions, cases[c], name, c, "test", "has no area under the ROC curve")
            for c, name in enumerate(class_names)
        )
        self.classes = [c for c in range(len(cases)) if cases[c].any() and not cases[c].all()]
        self.no_macro = next(filter(None, (self.reasons[c] for c in self.classes or range(len(cases)))), "")
        if not self.classes:
            alone = next((name for name, of_class in zip(class_names, cases, strict=True) if of_class.all()), "")
            self.no_macro = (
                f"every test image is of class '{alone}', and an AUC needs images of another class beside it"
            )
        self._groups = groups
        self._of_class = [
            None if reason else _compared(predictions.test[:, :, c], cases[c], groups)
            for c, reason in enumerate(self.reasons)
        ]

    def auc(self, counts: np.ndarray) -> np.ndarray:
        """Mean area under the ROC curve over the networks (C, R) under ``counts`` (G, R); NaN where there is none."""
        return np.stack([self._area(compared, counts) for compared in self._of_class])

    def _area(self, compared: Pairs | list[Ranking] | None, counts: np.ndarray) -> np.ndarray:
        if compared is None:
            return np.full(counts.shape[1], np.nan)
        if isinstance(compared, Pairs):
            return compared.auc(counts)
        return np.asarray(np.mean([ranking.auc(counts, self._groups) for ranking in compared], axis=0))

    def macro_auc(self, auc: np.ndarray) -> np.ndarray:
        """Mean (R,) of the areas (C, R) of `auc` over the classes that have one; NaN where there is none."""
        return np.full(auc.shape[1], np.nan) if self.no_macro else auc[self.classes].mean(axis=0)

    def network_macro_auc(self) -> tuple[float, ...]:
        """Macro AUC of each network; empty where there is none."""
        if self.no_macro:
            return ()
        table = [self._network_areas(self._of_class[c]) for c in self.classes]
        return tuple(float(value) for value in np.mean(table, axis=0))

    def _network_areas(self, compared: Pairs | list[Ranking] | None) -> Sequence[float]:
        if isinstance(compared, Pairs):
            return compared.network_auc
        once = np.ones((int(self._groups.max()) + 1, 1))
        return [float(ranking.auc(once, self._groups)[0]) for ranking in compared or ()]


def _compared(scores: np.ndarray, positive: np.ndarray, groups: np.ndarray) -> Pairs | list[Ranking]:
    """Compare cases with controls as is cheaper for many weightings: pair by pair, or sorted for each network."""
    if positive.sum() <= FEW * len(scores):
        return Pairs.of(scores, positive, groups)
    return [Ranking.of(network, positive) for network in scores]


class PreparedArm:
    """What is worked out once for an arm, before the patients are resampled.

    Attributes:
        predictions: the arm's predictions.
        cases: (C, N) bool, a test image is of the class.
        groups: (N,), patients of the test split, numbered without gaps.
        patients: how many there are, G.
        rankings: the scores, compared.
        no_threshold: why a class has no threshold, one text a class, empty where it has one.
        case_images: (C, G), each patient's images of each class.
        control_images: (C, G), each patient's other images.
    """

    def __init__(
        self,
        predictions: ArmPredictions,
        validation: Truth,
        test: Truth,
        class_names: Sequence[str],
        specificity: float,
    ) -> None:
        """Compare and count the test split; thresholds are chosen on the validation split where they are asked for."""
        classes = np.arange(len(class_names))[:, None]
        self.predictions = predictions
        self.groups, self.patients = number_groups(test.groups)
        self.cases = test.labels == classes
        self.rankings = Rankings(predictions, self.cases, class_names, self.groups)
        wanted = validation.labels == classes
        self.no_threshold = tuple(
            NO_THRESHOLD
            if not len(validation.labels)
            else _no_auc(predictions, wanted[c], name, c, "validation", "has no threshold")
            for c, name in enumerate(class_names)
        )
        self._wanted, self._specificity = wanted, specificity
        right = predictions.test.argmax(axis=2) == test.labels
        self._images = self._per_patient(np.ones((1, len(test.labels))))
        self._correct = self._per_patient(right.mean(axis=0)[None])
        self._brier = self._per_patient(brier(predictions.test, test.labels)[None])
        self._class_brier = self._per_patient(
            np.stack([class_brier(predictions.test[:, :, c], of_class) for c, of_class in enumerate(self.cases)])
        )
        self._recalled = self._per_patient(np.where(self.cases, right.mean(axis=0), 0))
        self.case_images = self._per_patient(self.cases)
        self.control_images = self._per_patient(~self.cases)

    def statistics(self, counts: np.ndarray) -> ArmStatistics:
        """The statistics under each weighting ``counts`` (G, R) of the patients."""
        weights = counts.astype(np.float64)
        images, cases, controls = (table @ weights for table in (self._images, self.case_images, self.control_images))
        auc, recall = self.rankings.auc(counts), _ratio(self._recalled @ weights, cases)
        return ArmStatistics(
            accuracy=_ratio(self._correct @ weights, images)[0],
            balanced_accuracy=recall[self.cases.any(axis=1)].mean(axis=0),
            macro_auc=self.rankings.macro_auc(auc),
            brier=_ratio(self._brier @ weights, images)[0],
            auc=auc,
            recall=recall,
            class_brier=_ratio(self._class_brier @ weights, np.broadcast_to(images, cases.shape)),
            points=np.stack([calls.measures(counts.astype(np.float32), cases, controls) for calls in self.calls]),
        )

    def headline(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Accuracy (R,) and macro AUC (R,) alone, as `statistics` has them."""
        weights = counts.astype(np.float64)
        accuracy = _ratio(self._correct @ weights, self._images @ weights)[0]
        return accuracy, self.rankings.macro_auc(self.rankings.auc(counts))

    @cached_property
    def calls(self) -> tuple[Calls, ...]:
        """Which test images are called at the thresholds of each rule."""
        rules: tuple[tuple[Rule, float | None], ...] = (("youden", None), ("specificity", self._specificity))
        validation, test = self.predictions.validation, self.predictions.test
        chosen = (
            Thresholds.choose(rule, target, validation, self._wanted, self.no_threshold) for rule, target in rules
        )
        return tuple(Calls(one, test, self.cases, self.groups) for one in chosen)

    @cached_property
    def components(self) -> tuple[Components, ...]:
        """The structural components of each class's area under the ROC curve, means over the networks."""
        return tuple(
            Components.mean([Components.of(scores[:, c], of_class, self.groups) for scores in self.predictions.test])
            for c, of_class in enumerate(self.cases)
        )

    @property
    def class_patients(self) -> tuple[int, ...]:
        """Patients with an image of each class."""
        return tuple(int(count) for count in (self.case_images > 0).sum(axis=1))

    def network_accuracy(self, labels: np.ndarray) -> tuple[float, ...]:
        """Accuracy of each network."""
        return tuple(float(share) for share in (self.predictions.test.argmax(axis=2) == labels).mean(axis=1))

    def network_macro_auc(self) -> tuple[float, ...]:
        """Macro AUC of each network; empty where there is none."""
        return self.rankings.network_macro_auc()

    def confusion(self) -> tuple[tuple[float, ...], ...]:
        """Share of the images of each class (row) put into each class, mean over the networks; an absent class' row is
        empty."""
        chosen = self.predictions.test.argmax(axis=2)
        classes = len(self.cases)
        return tuple(
            tuple(np.bincount(chosen[:, rows].ravel(), minlength=classes) / (rows.sum() * len(chosen)))
            if rows.any()
            else ()
            for rows in self.cases
        )

    def _per_patient(self, images: np.ndarray) -> np.ndarray:
        """Sum (K, N) over the images of each patient: (K, G)."""
        return np.stack([np.bincount(self.groups, weights=row, minlength=self.patients) for row in images])


def _no_auc(predictions: ArmPredictions, cases: np.ndarray, name: str, c: int, split: str, lacks: str) -> str:
    """Why a class cannot be told from the rest in a split; empty where it can."""
    scores = predictions.test if split == "test" else predictions.validation
    if not cases.any():
        return f"class '{name}' has no image in the {split} split, so it {lacks}"
    if cases.all():
        return f"every image in the {split} split is of class '{name}', so it {lacks}"
    if (np.ptp(scores[:, :, c], axis=1) == 0).all():
        return (
            f"every network of arm '{predictions.arm}' gives all {split} images the same score for class '{name}', so "
            f"it {lacks}"
        )
    return ""


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
