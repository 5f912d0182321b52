"""An arm's result: its statistics as estimates, each with an interval or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence

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
    rare = rare_classes(class_names, arm.class_patients, smallest)
    lacking = often_absent(class_names, arm.class_patients, arm.patients)

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

    accuracy, macro_auc = arm.network_accuracy(test.labels), arm.network_macro_auc()
    told = arm.predictions
    largest, right = told.test.max(axis=2), told.test.argmax(axis=2) == test.labels
    return ArmResult(
        arm=told.arm,
        images=told.images,
        bytes=told.bytes,
        epochs=told.epochs,
        seconds=told.seconds,
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
        classes=tuple(
            ClassResult(
                name=name,
                auc=number(point.auc[c, 0], sample.auc[c], arm.rankings.reasons[c], rare[c]),
                auc_delong=delong_estimate(arm.components[c], arm.rankings.reasons[c], confidence, rare=rare[c]),
                brier=number(point.class_brier[c, 0], sample.class_brier[c]),
                calibration_error=calibration_error(told.test[:, :, c], arm.cases[c]),
                points=tuple(
                    _operating_point(
                        arm,
                        calls,
                        c,
                        name,
                        point.points[k, :, c, 0],
                        sample.points[k, :, c],
                        confidence,
                        rare=rare[c],
                    )
                    for k, calls in enumerate(arm.calls)
                ),
                recall=proportion_estimate(
                    float(point.recall[c, 0]),
                    sample.recall[c],
                    patients=int(np.sum(arm.case_images[c] > 0)),
                    confidence=confidence,
                    reason="" if arm.cases[c].any() else f"class '{name}' has no image in the test split",
                ),
            )
            for c, name in enumerate(class_names)
        ),
    )


def _spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _operating_point(
    arm: PreparedArm,
    calls: Calls,
    c: int,
    name: str,
    values: np.ndarray,
    replicates: np.ndarray,
    confidence: float,
    *,
    rare: str,
) -> OperatingPoint:
    """The measures (M,) of one class with their resamples (M, R) as estimates.

    Those that count the class's own images have no interval where it is ``rare``; specificity and NPV count others.
    """
    with_cases, with_controls = (int(np.sum(table[c] > 0)) for table in (arm.case_images, arm.control_images))
    no_case = "" if with_cases else f"class '{name}' has no image in the test split"
    no_control = "" if with_controls else f"every image in the test split is of class '{name}'"
    threshold = arm.no_threshold[c]
    none_called = f"a network calls no test image '{name}' at its threshold"
    none_spared = f"a network calls every test image '{name}' at its threshold"
    said = dict(zip(MEASURES, zip(values, replicates, strict=True), strict=True))
    proportions = {
        "sensitivity": (with_cases, no_case or threshold),
        "specificity": (with_controls, no_control or threshold),
        "ppv": (int(calls.patients_called[c]), threshold or _unless(said["ppv"][0], none_called)),
        "npv": (int(calls.patients_spared[c]), threshold or _unless(said["npv"][0], none_spared)),
    }
    means = {
        "f1": no_case or threshold,
        "balanced_accuracy": no_case or no_control or threshold,
    }
    seldom = {
        "sensitivity": few_patients(name, with_cases),
        "specificity": f"few test patients have no image of class '{name}'",
        "ppv": f"networks call few test images '{name}' at their thresholds",
        "npv": f"networks call nearly every test image '{name}' at their thresholds",
    }
    found: dict[str, Estimate] = {}
    for measure, (patients, reason) in proportions.items():
        value, sample = said[measure]
        found[measure] = proportion_estimate(
            float(value),
            sample,
            patients=patients,
            confidence=confidence,
            reason=reason,
            rare=rare if measure in ("sensitivity", "ppv") else "",
            lacking=seldom[measure],
        )
    for measure, reason in means.items():
        value, sample = said[measure]
        found[measure] = percentile_estimate(
            float(value), sample, patients=arm.patients, confidence=confidence, reason=reason, rare=rare
        )
    return OperatingPoint(
        rule=calls.thresholds.rule,
        target=calls.thresholds.target,
        thresholds=calls.thresholds.of_class[c],
        **found,
    )


def _unless(value: float, reason: str) -> str:
    return "" if np.isfinite(value) else reason
