"""Comparison: the arms on the same test patients, with paired intervals from the same resamples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medistill.errors import DataError
from medistill.evaluate.arm import ArmStatistics, PreparedArm
from medistill.evaluate.evaluation import (
    ArmResult,
    ClassResult,
    Difference,
    Evaluation,
    NonInferiority,
    Superiority,
)
from medistill.evaluate.intervals import (
    Estimate,
    percentile_estimate,
    proportion_estimate,
    resamples,
)
from medistill.evaluate.predictions import ARMS, Arm, ArmPredictions, Truth, check_predictions
from medistill.recipe import EvaluateRecipe


def compare(
    arms: Sequence[ArmPredictions],
    validation: Truth,
    test: Truth,
    class_names: Sequence[str],
    recipe: EvaluateRecipe,
    *,
    seed: int,
) -> Evaluation:
    """Compare the arms on the test split.

    An arm's value is the mean over its networks. Intervals come from resampling the test patients, the networks as they
    are; every arm sees the same resamples, so intervals of differences are paired.

    Args:
        arms: predictions, in any order; an arm that is missing leaves out what needs it.
        validation: what is true of the validation split, on which thresholds are chosen.
        test: what is true of the test split.
        class_names: one a class.
        recipe: replicates, confidence and margin.
        seed: of the resamples.

    Raises:
        DataError: predictions that do not fit or are not finite, an empty test split, or an arm given twice.
    """
    if len(test.labels) == 0 or len(arms) == 0:
        raise DataError(
            "the test split is empty" if arms else "there are no arms to compare",
            expected="predictions of at least one arm for at least one test image",
            do="set data.test_fraction above 0, or give images the split 'test'",
        )
    if len({arm.arm for arm in arms}) < len(arms):
        raise DataError("an arm is given twice", expected="each arm once", do="run `medistill evaluate` again")
    for predictions in arms:
        check_predictions(predictions, validation, test, len(class_names))
    ready = [
        PreparedArm(predictions, validation, test, class_names)
        for predictions in sorted(arms, key=lambda entry: ARMS.index(entry.arm))
    ]
    patients = ready[0].patients
    once = np.ones((patients, 1))
    points = [arm.statistics(once) for arm in ready]
    drawn: list[list[ArmStatistics]] = [[] for _ in ready]
    for counts in resamples(patients, recipe.bootstrap, np.random.default_rng(seed)):
        for arm, parts in zip(ready, drawn, strict=True):
            parts.append(arm.statistics(counts))
    replicates = [ArmStatistics.join(parts) for parts in drawn]
    table = {
        arm.predictions.arm: (arm, point, sample) for arm, point, sample in zip(ready, points, replicates, strict=True)
    }
    results = tuple(_arm_result(arm, point, sample, test, class_names, recipe) for arm, point, sample in table.values())
    differences = tuple(
        _difference(table["distilled"], table[name], recipe)
        for name in ARMS
        if name != "distilled" and name in table and "distilled" in table
    )
    by_name: dict[Arm, ArmResult] = {result.arm: result for result in results}
    non_inferiority, why_not = _non_inferiority(by_name, differences, recipe)
    beats_random, why_neither = _beats_random(by_name, differences)
    cases = ready[0].case_images
    return Evaluation(
        class_names=tuple(class_names),
        class_images=tuple(int(count) for count in cases.sum(axis=1)),
        class_patients=tuple(int(count) for count in (cases > 0).sum(axis=1)),
        test_images=len(test.labels),
        test_patients=patients,
        validation_images=len(validation.labels),
        validation_patients=validation.patients,
        confidence=recipe.confidence,
        replicates=recipe.bootstrap,
        margin=recipe.margin,
        arms=results,
        differences=differences,
        non_inferiority=non_inferiority,
        beats_random=beats_random,
        gap_closed=_gap_closed(table, recipe.confidence),
        reason="; ".join(dict.fromkeys(filter(None, (why_not, why_neither)))),
    )


GUESSING = 0.5
"""AUC of a network that knows nothing: to be no worse than such a one is no merit."""
_Entry = tuple[PreparedArm, ArmStatistics, ArmStatistics]


def _spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _arm_result(
    arm: PreparedArm,
    point: ArmStatistics,
    sample: ArmStatistics,
    test: Truth,
    class_names: Sequence[str],
    recipe: EvaluateRecipe,
) -> ArmResult:
    def rank(value: float, replicates: np.ndarray, reason: str) -> Estimate:
        if reason:
            return Estimate.impossible(reason)
        return percentile_estimate(value, replicates, patients=arm.patients, confidence=recipe.confidence)

    def share(value: float, replicates: np.ndarray, patients: int, reason: str) -> Estimate:
        if reason:
            return Estimate.impossible(reason)
        return proportion_estimate(value, replicates, patients=patients, confidence=recipe.confidence)

    classes = []
    for c, name in enumerate(class_names):
        with_cases, with_controls = int(np.sum(arm.case_images[c] > 0)), int(np.sum(arm.control_images[c] > 0))
        no_case = "" if with_cases else f"class '{name}' has no image in the test split"
        no_control = "" if with_controls else f"every image in the test split is of class '{name}'"
        classes.append(
            ClassResult(
                name=name,
                auc=rank(point.auc[c, 0], sample.auc[c], arm.no_auc[c]),
                sensitivity=share(
                    point.sensitivity[c, 0], sample.sensitivity[c], with_cases, no_case or arm.no_threshold[c]
                ),
                specificity=share(
                    point.specificity[c, 0], sample.specificity[c], with_controls, no_control or arm.no_threshold[c]
                ),
                thresholds=arm.thresholds[c],
            )
        )
    accuracy, macro_auc = arm.network_accuracy(test.labels), arm.network_macro_auc()
    return ArmResult(
        arm=arm.predictions.arm,
        images=arm.predictions.images,
        epochs=arm.predictions.epochs,
        seconds=arm.predictions.seconds,
        accuracy=share(point.accuracy[0], sample.accuracy, arm.patients, ""),
        macro_auc=rank(point.macro_auc[0], sample.macro_auc, next(filter(None, arm.no_auc), "")),
        network_accuracy=accuracy,
        network_macro_auc=macro_auc,
        accuracy_spread=_spread(accuracy),
        macro_auc_spread=_spread(macro_auc),
        classes=tuple(classes),
    )


def _difference(mine: _Entry, other: _Entry, recipe: EvaluateRecipe) -> Difference:
    def paired(value: float, replicates: np.ndarray, *reasons: str) -> Estimate:
        reason = next(filter(None, reasons), "")
        if reason:
            return Estimate.impossible(reason)
        return percentile_estimate(value, replicates, patients=mine[0].patients, confidence=recipe.confidence)

    (arm, point, sample), (other_arm, other_point, other_sample) = mine, other
    auc, auc_samples = point.auc - other_point.auc, sample.auc - other_sample.auc
    return Difference(
        minus=other_arm.predictions.arm,
        accuracy=paired((point.accuracy - other_point.accuracy)[0], sample.accuracy - other_sample.accuracy),
        macro_auc=paired(auc.mean(axis=0)[0], auc_samples.mean(axis=0), *arm.no_auc, *other_arm.no_auc),
        class_auc=tuple(paired(auc[c, 0], auc_samples[c], arm.no_auc[c], other_arm.no_auc[c]) for c in range(len(auc))),
    )


def _non_inferiority(
    arms: dict[Arm, ArmResult], differences: Sequence[Difference], recipe: EvaluateRecipe
) -> tuple[NonInferiority, str]:
    against_raw = next((difference.macro_auc for difference in differences if difference.minus == "raw"), None)
    if against_raw is None:
        return "cannot be judged", "the arms 'distilled' and 'raw' were not both trained"
    if against_raw.low is None:
        return "cannot be judged", against_raw.reason
    reference = arms["raw"].macro_auc.low
    if reference is None or reference <= GUESSING:
        return "cannot be judged", "networks trained on all originals do not clearly beat guessing here"
    return ("shown" if against_raw.low > -recipe.margin else "not shown"), ""


def _beats_random(arms: dict[Arm, ArmResult], differences: Sequence[Difference]) -> tuple[Superiority, str]:
    gain = next((difference.macro_auc for difference in differences if difference.minus == "random"), None)
    if gain is None:
        return "cannot be judged", "the arms 'distilled' and 'random' were not both trained"
    if gain.value is None:
        return "cannot be judged", gain.reason
    spreads = [spread for arm in ("distilled", "random") if (spread := arms[arm].macro_auc_spread) is not None]
    if len(spreads) < 2:
        return "cannot be judged", "a seed spread needs at least 2 networks an arm"
    return ("yes" if gain.value > max(spreads) else "no"), ""


def _gap_closed(table: dict[Arm, _Entry], confidence: float) -> Estimate:
    if any(name not in table for name in ARMS):
        return Estimate.impossible("it needs all three arms")
    reason = next((reason for arm, _, _ in table.values() for reason in arm.no_auc if reason), "")
    if reason:
        return Estimate.impossible(reason)
    raw, random, distilled = (table[name][1].macro_auc for name in ("raw", "random", "distilled"))
    if raw[0] <= random[0]:
        return Estimate.impossible("all originals do no better here than a random part of them")
    raws, randoms, distilleds = (table[name][2].macro_auc for name in ("raw", "random", "distilled"))
    ratios = np.divide(distilleds - randoms, raws - randoms, out=np.full(len(raws), np.nan), where=raws > randoms)
    value = float((distilled[0] - random[0]) / (raw[0] - random[0]))
    lacking = int(np.sum(~np.isfinite(ratios)))
    estimate = percentile_estimate(value, ratios, patients=table["raw"][0].patients, confidence=confidence)
    if estimate.low is None and lacking:
        reason = f"in {lacking} of {len(ratios)} resamples of the patients all originals do no better than random ones"
        return Estimate(value, reason=reason)
    return estimate
