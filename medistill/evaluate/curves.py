"""Curves of every arm and class: ROC, calibration and decision curves, with pointwise intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medistill.evaluate.arm import PreparedArm
from medistill.evaluate.calibration import calibration_curve
from medistill.evaluate.curve import CalibrationCurve, DecisionCurve, RocCurve
from medistill.evaluate.decision import decision_curve
from medistill.evaluate.rare import rare_classes
from medistill.evaluate.roc_band import roc_band
from medistill.recipe import EvaluateRecipe

RATES = np.arange(101) / 100
"""False positive rates at which ROC curves are kept: exact hundredths, so that a step at one of them is met."""
MOST_CLASSES = 12
"""Tasks with more classes have no curves: nobody looks at hundreds of them."""
BAND_REPLICATES = 512
"""Resamples that pointwise intervals of curves are drawn from, the first of all."""

Curves = tuple[tuple[RocCurve, ...], tuple[CalibrationCurve, ...], tuple[DecisionCurve, ...]]


def curves(
    arms: Sequence[PreparedArm], class_names: Sequence[str], counts: Sequence[np.ndarray], recipe: EvaluateRecipe
) -> Curves:
    """The curves of every arm for every class that can be told from the rest.

    Args:
        arms: at least one.
        class_names: one a class.
        counts: chunks (G, R) of the resamples that every statistic uses.
        recipe: confidence and smallest cell. Those of a class of fewer patients have no intervals.
    """
    if len(class_names) > MOST_CLASSES:
        return (), (), ()
    few = counts[: max(1, BAND_REPLICATES // counts[0].shape[1])]
    roc: list[RocCurve] = []
    calibration: list[CalibrationCurve] = []
    decision: list[DecisionCurve] = []
    for arm in arms:
        rare = rare_classes(class_names, arm.class_patients, recipe.smallest_cell)
        for c, name in enumerate(class_names):
            if arm.rankings.reasons[c]:
                continue
            given = (arm.predictions.test[:, :, c], arm.cases[c], arm.groups, few)
            of, level = arm.predictions.arm, recipe.confidence
            rows = (RATES, *roc_band(*given, confidence=level, grid=RATES))
            of_roc = RocCurve(of, name, *(tuple(row.tolist()) for row in rows))
            calibrated = calibration_curve(
                *given, arm=of, class_name=name, confidence=level, smallest_cell=recipe.smallest_cell
            )
            decided = decision_curve(*given, arm=of, class_name=name, confidence=level)
            roc.append(replace(of_roc, low=(), high=()) if rare[c] else of_roc)
            calibration.append(replace(calibrated, low=(), high=()) if rare[c] else calibrated)
            decision.append(replace(decided, low=(), high=()) if rare[c] else decided)
    return tuple(roc), tuple(calibration), tuple(decision)
