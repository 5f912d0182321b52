"""Comparison: the arms on the same test patients, with paired intervals from the same resamples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from medistill.errors import DataError
from medistill.evaluate.arm import ArmStatistics, PreparedArm
from medistill.evaluate.arm_result import arm_result
from medistill.evaluate.curves import curves
from medistill.evaluate.delong import delong_estimate
from medistill.evaluate.ensembles import ensembles
from medistill.evaluate.evaluation import Difference, Evaluation
from medistill.evaluate.intervals import Estimate, percentile_estimate, resamples
from medistill.evaluate.judgement import Entry, accuracy_gain, beats_random, gap_closed, non_inferiority
from medistill.evaluate.predictions import ArmPredictions, Truth, check_predictions
from medistill.evaluate.rare import often_absent, rare_classes
from medistill.evaluate.schedule_choice import ScheduleChoice
from medistill.evaluate.subgroups import subgroups
from medistill.recipe import EvaluateRecipe
from medistill.recipe.arms import ARMS, ArmName


def compare(
    arms: Sequence[ArmPredictions],
    validation: Truth,
    test: Truth,
    class_names: Sequence[str],
    recipe: EvaluateRecipe,
    *,
    seed: int,
    network: str,
    parameters: int,
    schedules: tuple[ScheduleChoice, ...] = (),
) -> Evaluation:
    """Compare the arms on the test split.

    An arm's value is the mean over its networks. Intervals come from resampling the test patients, the networks as they
    are; every arm sees the same resamples, so intervals of differences are paired.

    Args:
        arms: predictions, in any order; an arm that is missing leaves out what needs it.
        validation: what is true of the validation split, on which thresholds are chosen.
        test: what is true of the test split.
        class_names: one a class.
        recipe: replicates, confidence, margin, wanted specificity and smallest cell.
        seed: of the resamples.
        network: the network that the arms trained, in words.
        parameters: how many numbers it learns.
        schedules: how the arms were trained, where that was chosen; no verdict stands on an arm that is not trained to
            its end.

    Raises:
        DataError: predictions that do not fit or are not finite, an empty test split, or an arm given twice.
    """
    compared = _Compared(_checked(arms, validation, test, class_names), validation, test, class_names, recipe, seed)
    return _evaluation(compared, network, parameters, schedules)


def _checked(
    arms: Sequence[ArmPredictions], validation: Truth, test: Truth, class_names: Sequence[str]
) -> list[ArmPredictions]:
    """Return the arms in the order in which results are shown.

    Raises:
        DataError: as for `compare`.
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
    order = list(ARMS)
    return sorted(arms, key=lambda entry: order.index(entry.arm))


class _Compared:
    """The arms on the same test patients: everything that is worked out from their predictions alone.

    Attributes:
        ready: what is worked out once for each arm.
        table: each arm with its statistics on the patients as they are and on the resamples.
        roc: the curves, as are calibration and decision.
        ensembles: each arm's networks asked together.
        subgroups: by trait.
        untold: trait -> why there are none by it.
        results: one entry an arm.
        differences: distilled minus each other arm.
    """

    def __init__(
        self,
        arms: Sequence[ArmPredictions],
        validation: Truth,
        test: Truth,
        class_names: Sequence[str],
        recipe: EvaluateRecipe,
        seed: int,
    ) -> None:
        self.validation, self.test, self.class_names = validation, test, class_names
        self.recipe, self.seed = recipe, seed
        with threadpool_limits(1):  # many small products: threads that wait for one another cost more than they save
            self.ready = [PreparedArm(one, validation, test, class_names, recipe.specificity) for one in arms]
            counts = list(resamples(self.ready[0].patients, recipe.bootstrap, np.random.default_rng(seed)))
            self.table = _statistics(self.ready, counts)
            self.roc, self.calibration, self.decision = curves(self.ready, class_names, counts, recipe)
            self.ensembles = ensembles(
                arms,
                validation,
                test,
                class_names,
                counts,
                specificity=recipe.specificity,
                confidence=recipe.confidence,
            )
            self.subgroups, self.untold = subgroups(arms, test, class_names, recipe, seed=seed)
        self.results = tuple(
            arm_result(arm, point, sample, test, class_names, recipe.confidence, smallest=recipe.smallest_cell)
            for arm, point, sample in self.table.values()
        )
        self.differences = tuple(
            _difference(self.table["distilled"], self.table[name], class_names, recipe)
            for name in self.table
            if name != "distilled" and "distilled" in self.table
        )

    @property
    def absent(self) -> str:
        """Say which class the test split lacks; empty where it lacks none."""
        cases = zip(self.class_names, self.ready[0].case_images, strict=True)
        missing = [name for name, of_class in cases if not of_class.any()]
        return f"class '{missing[0]}' has no image in the test split" if missing else ""


def _evaluation(
    compared: _Compared, network: str, parameters: int, schedules: tuple[ScheduleChoice, ...]
) -> Evaluation:
    """Judge the arms by the rules of `medistill.evaluate.judgement`, and put all of it together."""
    recipe, table, ready = compared.recipe, compared.table, compared.ready[0]
    by_name = {result.arm: result for result in compared.results}
    unfinished = [choice.arm for choice in schedules if choice.still_rising]
    inferiority, why_not = non_inferiority(by_name, compared.differences, recipe.margin, unfinished, compared.absent)
    superiority, why_neither = beats_random(by_name, compared.differences, compared.absent)
    lacking = often_absent(compared.class_names, ready.class_patients, ready.patients)
    return Evaluation(
        network=network,
        parameters=parameters,
        class_names=tuple(compared.class_names),
        class_images=tuple(int(count) for count in ready.case_images.sum(axis=1)),
        class_patients=ready.class_patients,
        test_images=len(compared.test.labels),
        test_patients=ready.patients,
        validation_images=len(compared.validation.labels),
        validation_patients=compared.validation.patients,
        confidence=recipe.confidence,
        replicates=recipe.bootstrap,
        margin=recipe.margin,
        seed=compared.seed,
        schedules=schedules,
        arms=compared.results,
        ensembles=compared.ensembles,
        differences=compared.differences,
        non_inferiority=inferiority,
        beats_random=superiority,
        gap_closed=gap_closed(table, recipe.confidence, lacking=lacking),
        hard_label_recovery=accuracy_gain(table, "raw", "hard" if "hard" in table else "distilled", recipe.confidence),
        improvement_over_random=accuracy_gain(table, "distilled", "random", recipe.confidence),
        roc=compared.roc,
        calibration=compared.calibration,
        decision=compared.decision,
        subgroups=compared.subgroups,
        untold=compared.untold,
        reason=why_not,
        reason_random=why_neither,
    )


def _statistics(ready: Sequence[PreparedArm], counts: Sequence[np.ndarray]) -> Mapping[ArmName, Entry]:
    """Each arm with its statistics on the patients as they are and on the resamples."""
    once = np.ones((ready[0].patients, 1), np.float32)
    return {
        arm.predictions.arm: (
            arm,
            arm.statistics(once),
            ArmStatistics.join([arm.statistics(part) for part in counts]),
        )
        for arm in ready
    }


def _difference(mine: Entry, other: Entry, class_names: Sequence[str], recipe: EvaluateRecipe) -> Difference:
    (arm, point, sample), (other_arm, other_point, other_sample) = mine, other
    rare = rare_classes(class_names, arm.class_patients, recipe.smallest_cell)
    lacking = often_absent(class_names, arm.class_patients, arm.patients)

    def paired(value: float, replicates: np.ndarray, *reasons: str, rare: str = "") -> Estimate:
        return percentile_estimate(
            float(value),
            replicates,
            patients=arm.patients,
            confidence=recipe.confidence,
            reason=next(filter(None, reasons), ""),
            rare=rare,
            lacking=lacking,
        )

    why, other_why = arm.rankings.reasons, other_arm.rankings.reasons
    macro, macro_samples = point.macro_auc - other_point.macro_auc, sample.macro_auc - other_sample.macro_auc
    auc, auc_samples = point.auc - other_point.auc, sample.auc - other_sample.auc
    return Difference(
        minus=other_arm.predictions.arm,
        accuracy=paired((point.accuracy - other_point.accuracy)[0], sample.accuracy - other_sample.accuracy),
        macro_auc=paired(macro[0], macro_samples, arm.rankings.no_macro, other_arm.rankings.no_macro),
        class_auc=tuple(paired(auc[c, 0], auc_samples[c], why[c], other_why[c], rare=rare[c]) for c in range(len(auc))),
        class_auc_delong=tuple(
            delong_estimate(
                arm.components[c].minus(other_arm.components[c]),
                why[c] or other_why[c],
                recipe.confidence,
                rare=rare[c],
            )
            for c in range(len(auc))
        ),
    )
