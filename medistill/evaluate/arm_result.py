"""An arm's result: its statistics as estimates, each with an interval or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medistill.evaluate.arm import ArmStatistics, PreparedArm
from medistill.evaluate.calibration import calibration_error
from medistill.evaluate.delong import delong_estimate
from medistill.evaluate.evaluation import ArmResult, ClassResult, OperatingPoint
from medistill.evaluate.intervals import Estimate, percentile_estimate, proportion_estimate
from medistill.evaluate.operating_point import MEASURES, Calls
from medistill.evaluate.predictions import Truth
from medistill.evaluate.rare import few_patients, often_absent, rare_classes


def arm_result(
    arm: PreparedArm,
    point: ArmStatistics,
    sample: ArmStatistics,
    test: Truth,
    class_names: Sequence[str],
    confidence: float,
    *,
    smallest: int,
) -> ArmResult:
    """Put an arm's statistics into words and numbers.

    Args:
        arm: the arm.
        point: its statistics on the patients as they are, R = 1.
        sample: its statistics on the resamples.
        test: what is true of the test split.
        class_names: one a class.
        confidence: level of the intervals.
        smallest: fewest test patients of a class whose own figures have an interval.
    """

    def number(value: float, replicates: np.ndarray, reason: str = "", rare: str = "") -> Estimate:
        return percentile_estimate(
            float(value),
            replicates,
            patients=arm.patients,
            confidence=confidence,
            reason=reason,
            rare=rare,
            lacking=lacking,
        )

    rare = rare_classes(class_names, arm.class_patients, smallest)
    lacking = often_absent(class_names, arm.class_patients, arm.patients)
    accuracy, macro_auc = arm.network_accuracy(test.labels), arm.network_macro_auc()
    predictions = arm.predictions
    largest, right = predictions.test.max(axis=2), predictions.test.argmax(axis=2) == test.labels
    return ArmResult(
        arm=predictions.arm,
        images=predictions.images,
        bytes=predictions.bytes,
        epochs=predictions.epochs,
        seconds=predictions.seconds,
        accuracy=proportion_estimate(
            float(point.accuracy[0]), sample.accuracy, patients=arm.patients, confidence=confidence
        ),
        balanced_accuracy=number(point.balanced_accuracy[0], sample.balanced_accuracy),
        macro_auc=number(point.macro_auc[0], sample.macro_auc, arm.rankings.no_macro),
        brier=number(point.brier[0], sample.brier),
        calibration_error=calibration_error(largest, right),
        network_accuracy=accuracy,
        network_macro_auc=macro_auc,
        accuracy_spread=_spread(accuracy),
        macro_auc_spread=_spread(macro_auc),
        confusion=arm.confusion(),
        settled=predictions.settled,
        tiles=predictions.tiles,
        classes=tuple(
            _class_result(_OneClass(arm, c, name, rare[c], confidence), point, sample, number)
            for c, name in enumerate(class_names)
        ),
    )


@dataclass(frozen=True)
class _OneClass:
    """One class of an arm.

    Attributes:
        arm: the arm.
        c: number of the class.
        name: its name.
        rare: why its own figures have no interval; else empty.
        confidence: level of the intervals.
    """

    arm: PreparedArm
    c: int
    name: str
    rare: str
    confidence: float


def _class_result(
    of: _OneClass, point: ArmStatistics, sample: ArmStatistics, number: Callable[..., Estimate]
) -> ClassResult:
    arm, c, why = of.arm, of.c, of.arm.rankings.reasons[of.c]
    return ClassResult(
        name=of.name,
        auc=number(point.auc[c, 0], sample.auc[c], why, of.rare),
        auc_delong=delong_estimate(arm.components[c], why, of.confidence, rare=of.rare),
        brier=number(point.class_brier[c, 0], sample.class_brier[c]),
        calibration_error=calibration_error(arm.predictions.test[:, :, c], arm.cases[c]),
        points=tuple(
            _operating_point(of, calls, point.points[k, :, c, 0], sample.points[k, :, c])
            for k, calls in enumerate(arm.calls)
        ),
        recall=proportion_estimate(
            float(point.recall[c, 0]),
            sample.recall[c],
            patients=int(np.sum(arm.case_images[c] > 0)),
            confidence=of.confidence,
            reason="" if arm.cases[c].any() else f"class '{of.name}' has no image in the test split",
        ),
    )


def _spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _operating_point(of: _OneClass, calls: Calls, values: np.ndarray, replicates: np.ndarray) -> OperatingPoint:
    """Return the measures (M,) of one class with their resamples (M, R) as estimates.

    Those that count the class's own images have no interval where it is rare; specificity and NPV count others.
    """
    said = dict(zip(MEASURES, zip(values, replicates, strict=True), strict=True))
    found: dict[str, Estimate] = {}
    for measure, (patients, reason, seldom) in _shares(of, calls, dict(zip(MEASURES, values, strict=True))).items():
        value, sample = said[measure]
        found[measure] = proportion_estimate(
            float(value),
            sample,
            patients=patients,
            confidence=of.confidence,
            reason=reason,
            rare=of.rare if measure in ("sensitivity", "ppv") else "",
            lacking=seldom,
        )
    (_, no_case, _), (_, no_control, _) = _tested(of)
    threshold = of.arm.no_threshold[of.c]
    means = {"f1": no_case or threshold, "balanced_accuracy": no_case or no_control or threshold}
    for measure, reason in means.items():
        value, sample = said[measure]
        found[measure] = percentile_estimate(
            float(value), sample, patients=of.arm.patients, confidence=of.confidence, reason=reason, rare=of.rare
        )
    return OperatingPoint(
        rule=calls.thresholds.rule,
        target=calls.thresholds.target,
        thresholds=calls.thresholds.of_class[of.c],
        **found,
    )


def _tested(of: _OneClass) -> tuple[tuple[int, str, str], tuple[int, str, str]]:
    """Return the test patients with an image of the class, why there are none, and that they are few; and of others."""
    with_cases, with_controls = (int(np.sum(table[of.c] > 0)) for table in (of.arm.case_images, of.arm.control_images))
    no_case = "" if with_cases else f"class '{of.name}' has no image in the test split"
    no_control = "" if with_controls else f"every image in the test split is of class '{of.name}'"
    return (
        (with_cases, no_case, few_patients(of.name, with_cases)),
        (with_controls, no_control, f"few test patients have no image of class '{of.name}'"),
    )


def _shares(of: _OneClass, calls: Calls, values: Mapping[str, float]) -> dict[str, tuple[int, str, str]]:
    """Return of each measure that is a share: its patients, why it has no value, and why resamples often have none."""
    threshold = of.arm.no_threshold[of.c]
    (with_cases, no_case, few_cases), (with_controls, no_control, few_controls) = _tested(of)
    none_called = f"a network calls no test image '{of.name}' at its threshold"
    none_spared = f"a network calls every test image '{of.name}' at its threshold"
    return {
        "sensitivity": (with_cases, no_case or threshold, few_cases),
        "specificity": (with_controls, no_control or threshold, few_controls),
        "ppv": (
            int(calls.patients_called[of.c]),
            threshold or _unless(values["ppv"], none_called),
            f"networks call few test images '{of.name}' at their thresholds",
        ),
        "npv": (
            int(calls.patients_spared[of.c]),
            threshold or _unless(values["npv"], none_spared),
            f"networks call nearly every test image '{of.name}' at their thresholds",
        ),
    }


def _unless(value: float, reason: str) -> str:
    return "" if np.isfinite(value) else reason
