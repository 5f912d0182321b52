"""Classes of few test patients: the same reason everywhere, and named where resamples lack them."""

from __future__ import annotations

import numpy as np
import pytest

from medistill.evaluate.comparison import compare
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.intervals import LEAST_VALID, Estimate
from medistill.evaluate.predictions import ArmPredictions, Truth
from medistill.evaluate.rare import ABSENT, often_absent, patients_with
from medistill.recipe import EvaluateRecipe
from medistill.recipe.arms import ArmName

NAMES = ("Bacterial_pneumonia", "COVID", "Normal")
FEW = "Bacterial pneumonia has 2 test patients"


def judged(rare: int, smallest: int) -> Evaluation:
    """Three arms on ``rare``, 15 and 20 patients of two images each; none is without fault in any class."""
    labels = np.repeat(np.repeat(np.arange(3), (rare, 15, 20)), 2)
    truth = Truth(labels, np.arange(len(labels)) // 2, {})
    numbers = np.random.default_rng(0)

    def arm(name: ArmName, skill: float) -> ArmPredictions:
        scores = numbers.normal(size=(2, 2, len(labels), 3))
        scores[:, :, np.arange(len(labels)), labels] += skill
        told = np.exp(scores) / np.exp(scores).sum(axis=3, keepdims=True)
        validation, test = told.astype(np.float32)
        return ArmPredictions(name, validation, test, images=9, bytes=9, epochs=1, seconds=1.0)

    arms = [arm("distilled", 0.5), arm("raw", 1.0), arm("random", 0.2)]
    recipe = EvaluateRecipe(bootstrap=400, smallest_cell=smallest)
    return compare(arms, truth, truth, NAMES, recipe, seed=1, network="n", parameters=1)


def of_class(found: Evaluation, c: int) -> list[Estimate]:
    """Every figure that counts the images of a class."""
    told = [area for of in found.differences for area in (of.class_auc[c], of.class_auc_delong[c])]
    for arm in found.arms:
        result = arm.classes[c]
        told += [result.auc, result.auc_delong]
        told += [one for at in result.points for one in (at.sensitivity, at.ppv, at.f1, at.balanced_accuracy)]
    return told


def test_a_rare_class_has_its_figures_and_no_interval_by_any_method() -> None:
    found = judged(rare=2, smallest=10)
    assert {(one.value is None, one.low, one.reason) for one in of_class(found, 0)} == {(False, None, FEW)}
    for curves in (found.roc, found.calibration, found.decision):
        assert not any(curve.low or curve.high for curve in curves if curve.class_name == NAMES[0])
        assert all(curve.low for curve in curves if curve.class_name == NAMES[2])
    for arm in found.arms:
        assert all(row for row in arm.confusion)
        for point in arm.classes[0].points:
            assert point.specificity.low is not None  # it counts the images of the other 35 patients
    assert not any(one.reason == FEW for c in (1, 2) for one in of_class(found, c))


def test_figures_of_all_classes_name_the_one_that_resamples_lack() -> None:
    found = judged(rare=2, smallest=10)
    told = [arm.macro_auc for arm in found.arms] + [one.macro_auc for one in found.ensembles]
    told += [difference.macro_auc for difference in found.differences]
    assert {one.reason for one in told} == {FEW}
    assert found.reason == FEW
    assert "resamples" not in found.reason


def test_from_the_smallest_cell_on_a_class_has_its_intervals() -> None:
    of_two, of_ten = judged(rare=2, smallest=2), judged(rare=10, smallest=10)
    assert all(one.low is not None for one in of_class(of_ten, 0))
    assert all(arm.classes[0].auc_delong.low is not None for arm in of_two.arms)


@pytest.mark.parametrize("patients", [1, 2, 3, 4, 6])
def test_what_resamples_often_lack_agrees_with_drawing_them(patients: int) -> None:
    drawn = np.random.default_rng(patients).integers(0, 40, size=(20_000, 40))
    lacking = float(np.mean(~(drawn < patients).any(axis=1)))
    named = often_absent(("a", "b"), (patients, 38), 40)
    assert bool(named) == (lacking > ABSENT)
    if lacking > 1 - LEAST_VALID:  # then there is no interval, and its reason must have a name
        assert named == f"a has {patients} test patient{'s' if patients > 1 else ''}"


def test_classes_are_named_from_the_rarest_on_and_absent_ones_are_not() -> None:
    assert often_absent(("a", "b", "c_d", "e"), (3, 2, 1, 0), 40) == (
        "c d has 1 test patient, b has 2 test patients and a has 3 test patients"
    )
    many = often_absent([f"c{k}" for k in range(9)], [1] * 9, 40)
    assert many.endswith("c4 has 1 test patient and 4 more have few")
    cases = np.array([[True, True, False], [False, False, True]])
    assert patients_with(cases, np.array([7, 7, 7])) == (1, 1)
