"""Subgroups against scikit-learn on the same rows, and what must not be shown."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medistill.artifacts.corpus import Trait
from medistill.evaluate.predictions import ArmPredictions, Truth
from medistill.evaluate.subgroup import Subgroup
from medistill.evaluate.subgroups import subgroups
from medistill.recipe import EvaluateRecipe
from medistill.recipe.arms import ArmName

SETTINGS = EvaluateRecipe(bootstrap=100, smallest_cell=10)
NAMES = ("normal", "covid")
IMAGES = 120


def predictions(arm: ArmName, labels: np.ndarray, seed: int) -> ArmPredictions:
    numbers = np.random.default_rng(seed)
    score = numbers.normal(size=(3, len(labels))) + labels
    covid = 1 / (1 + np.exp(-score))
    told = np.stack([1 - covid, covid], axis=2).astype(np.float32)
    return ArmPredictions(arm, told, told, images=10, bytes=640, epochs=1, seconds=1.0)


def found(traits: dict[Trait, tuple[str, ...]], labels: np.ndarray) -> tuple[dict[str, Subgroup], dict[Trait, str]]:
    """Subgroups by name, one image a patient."""
    test = Truth(labels, np.arange(len(labels)), traits)
    arms = [predictions("raw", labels, 1), predictions("distilled", labels, 2)]
    cells, untold = subgroups(arms, test, NAMES, SETTINGS, seed=0)
    return {cell.name: cell for cell in cells}, untold


def labels_of(images: int = IMAGES) -> np.ndarray:
    return np.arange(images) % 2


def test_figures_are_those_of_the_rows_alone() -> None:
    labels = labels_of()
    views = tuple("AP" if k % 3 else "PA" for k in range(IMAGES))
    cells, _ = found({"view": views}, labels)
    rows = np.flatnonzero(np.array(views) == "PA")
    cell = cells["PA"]
    assert (cell.images, cell.patients, cell.classes) == (40, 40, NAMES)
    areas = {}
    for arm, told in zip(cell.arms, (predictions("raw", labels, 1), predictions("distilled", labels, 2)), strict=True):
        areas[arm.arm] = np.mean([roc_auc_score(labels[rows], one[rows, 1]) for one in told.test])
        assert arm.macro_auc.value == pytest.approx(areas[arm.arm], abs=1e-6)
        assert arm.accuracy.value == pytest.approx(np.mean(told.test[:, rows].argmax(axis=2) == labels[rows]))
        assert arm.macro_auc.low is not None
        assert arm.macro_auc.low < arm.macro_auc.value
    assert cell.difference.value == pytest.approx(areas["distilled"] - areas["raw"], abs=1e-6)


def test_differences_are_paired() -> None:
    labels = labels_of()
    arms = [predictions("raw", labels, 1), predictions("distilled", labels, 1)]
    truth = Truth(labels, np.arange(IMAGES), {"view": ("AP", "PA", "AP") * (IMAGES // 3)})
    cells, _ = subgroups(arms, truth, NAMES, SETTINGS, seed=0)
    assert [cell.difference.value for cell in cells] == [0, 0]
    assert {cell.difference.reason for cell in cells} == {"every resample of the patients gives the same value"}


def test_small_cells_are_not_shown_and_cannot_be_worked_out() -> None:
    sites = ("big",) * 70 + ("middle",) * 41 + ("tiny",) * 9
    cells, _ = found({"site": sites}, labels_of())
    assert cells["tiny"].images is cells["tiny"].patients is None
    assert cells["tiny"].arms == ()
    assert "fewer than 10 patients" in cells["tiny"].reason
    assert cells["middle"].images is None, "its count would give the tiny one's away"
    assert "would follow" in cells["middle"].reason
    assert cells["big"].images == 70


def test_two_small_cells_hide_each_other() -> None:
    sites = ("big",) * 104 + ("tiny",) * 9 + ("small",) * 7
    cells, _ = found({"site": sites}, labels_of())
    assert cells["big"].images == 104
    assert cells["tiny"].images is cells["small"].images is None


def test_small_cells_that_are_few_together_hide_a_larger_one() -> None:
    """Two patients of two sites: what the shown sites leave of the total would be theirs, image by image."""
    sites = ("big",) * 68 + ("larger",) * 50 + ("one",) + ("two",)
    cells, _ = found({"site": sites}, labels_of())
    assert {name for name, cell in cells.items() if cell.images is None} == {"one", "two", "larger"}
    assert "would follow" in cells["larger"].reason


def test_patients_count_and_not_images() -> None:
    labels = labels_of()
    sites = ("here",) * 60 + ("there",) * 60
    groups = np.concatenate([np.arange(60), 100 + np.arange(60) // 12])  # 5 patients there
    arms = [predictions("raw", labels, 1), predictions("distilled", labels, 2)]
    cells, _ = subgroups(arms, Truth(labels, groups, {"site": sites}), NAMES, SETTINGS, seed=0)
    assert {cell.name: cell.images for cell in cells} == {"here": None, "there": None}


def test_a_site_with_one_class_has_accuracy_and_no_area() -> None:
    labels = np.concatenate([np.ones(30, int), labels_of(90)])
    cells, _ = found({"site": ("covid only",) * 30 + ("both",) * 90}, labels)
    cell = cells["covid only"]
    assert cell.classes == ()
    for arm in cell.arms:
        assert arm.macro_auc.value is None
        assert "every test image here is of class 'covid'" in arm.macro_auc.reason
        assert arm.accuracy.value is not None
    assert "'covid'" in cell.difference.reason


def test_what_is_not_known_is_said() -> None:
    views = tuple("PA" if k % 2 else "" for k in range(IMAGES))
    cells, untold = found({"view": views, "site": ("one",) * IMAGES}, labels_of())
    assert list(cells) == ["PA", "not stated"]
    assert untold["site"] == "all test images share one: one"
    assert untold["sex"] == untold["age"] == "the corpus does not say it"
