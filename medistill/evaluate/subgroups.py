"""Subgroups: the arms on the test images that share a site, a view, a sex or an age band; small cells are not shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from medistill.artifacts.corpus import NOT_STATED, Trait
from medistill.evaluate.arm import Rankings
from medistill.evaluate.intervals import (
    Estimate,
    number_groups,
    percentile_estimate,
    proportion_estimate,
    resamples,
)
from medistill.evaluate.predictions import TRAITS, ArmPredictions, Truth
from medistill.evaluate.subgroup import Subgroup, SubgroupArm
from medistill.recipe import EvaluateRecipe
from medistill.recipe.arms import ArmName

FOLLOWS = "the count of a smaller group would follow from it"
"""Why a cell that is large enough is not shown."""
FEW_HERE = "a class has few patients in this subgroup"
"""Why a figure of a subgroup has no interval: which class, and how many, could point at somebody."""


def subgroups(
    arms: Sequence[ArmPredictions], test: Truth, class_names: Sequence[str], recipe: EvaluateRecipe, *, seed: int
) -> tuple[tuple[Subgroup, ...], dict[Trait, str]]:
    """The arms in each subgroup of the test split.

    A cell with fewer than ``recipe.smallest_cell`` patients is not shown. Where it is the only one of its trait, or all
    such cells together have too few patients, the next smallest is not shown either: what is hidden, as a whole,
    follows from the others and the total.

    Returns:
        the subgroups, and trait -> why there are none by it.
    """
    found: list[Subgroup] = []
    untold: dict[Trait, str] = {}
    for trait in TRAITS:
        cells = _cells(test, trait)
        if len(cells) < 2:
            untold[trait] = f"all test images share one: {next(iter(cells))}" if cells else "the corpus does not say it"
            continue
        hidden = hidden_cells(cells, test.groups, recipe.smallest_cell)
        for number, (name, rows) in enumerate(cells.items()):
            if name in hidden:
                nothing = Estimate.impossible(hidden[name])
                found.append(Subgroup(trait, name, None, None, (), (), nothing, hidden[name]))
            else:
                rng = np.random.default_rng([seed, TRAITS.index(trait), number])
                found.append(shown(trait, name, rows, arms, test, class_names, recipe, rng))
    return tuple(found), untold


def _cells(test: Truth, trait: Trait) -> dict[str, np.ndarray]:
    """Value -> rows of the test split, values in alphabetical order, what is not stated last."""
    texts = np.array([text or NOT_STATED for text in test.traits.get(trait, ())])
    names = sorted(set(texts.tolist()), key=lambda name: (name == NOT_STATED, name))
    if names == [NOT_STATED]:
        return {}
    return {name: np.flatnonzero(texts == name) for name in names}


def hidden_cells(cells: Mapping[str, np.ndarray], groups: np.ndarray, smallest: int) -> dict[str, str]:
    """Name of a cell -> why it is not shown.

    Args:
        cells: name -> int64 rows, no two with a row in common.
        groups: int64, patient of each row.
        smallest: fewest patients that are shown, or may be hidden together.
    """
    patients = {name: len(np.unique(groups[rows])) for name, rows in cells.items()}
    small = [name for name, count in patients.items() if count < smallest]
    hidden = dict.fromkeys(small, f"fewer than {smallest} patients, who might be recognised")
    beside = sorted((name for name in cells if name not in small), key=lambda name: patients[name])
    while small and beside and (len(hidden) == 1 or _together(hidden, cells, groups) < smallest):
        hidden[beside.pop(0)] = FOLLOWS
    return hidden


def _together(names: Iterable[str], cells: Mapping[str, np.ndarray], groups: np.ndarray) -> int:
    """Patients of several cells."""
    return len(np.unique(groups[np.concatenate([cells[name] for name in names])]))


def shown(
    trait: Trait,
    name: str,
    rows: np.ndarray,
    arms: Sequence[ArmPredictions],
    test: Truth,
    class_names: Sequence[str],
    recipe: EvaluateRecipe,
    rng: np.random.Generator,
) -> Subgroup:
    """The arms on the test images ``rows`` (int64), however few they are; ``numbers`` draws the resamples."""
    labels = test.labels[rows]
    groups, patients = number_groups(test.groups[rows])
    cases = labels == np.arange(len(class_names))[:, None]
    present = [c for c in range(len(class_names)) if cases[c].any() and not cases[c].all()]
    counts = list(resamples(patients, recipe.bootstrap, rng))
    once = np.ones((patients, 1), np.float32)
    images = np.bincount(groups, minlength=patients).astype(np.float64)
    of_arms: list[SubgroupArm] = []
    areas: dict[ArmName, tuple[float, np.ndarray, str]] = {}
    for arm in arms:
        of_cell = replace(arm, test=arm.test[:, rows][:, :, present])
        rankings = Rankings(of_cell, cases[present], [class_names[c] for c in present], groups)
        reason = _no_area(present, labels, class_names) or next(filter(None, rankings.reasons), "")
        right = (arm.test[:, rows].argmax(axis=2) == labels).mean(axis=0)
        correct = np.bincount(groups, weights=right, minlength=patients)
        shares = np.concatenate([(correct @ part) / (images @ part) for part in counts])
        value, sample = float("nan"), np.empty(0)
        if not reason:
            value = float(rankings.auc(once).mean())
            sample = np.concatenate([rankings.auc(part).mean(axis=0) for part in counts])
        areas[arm.arm] = (value, sample, reason)
        of_arms.append(
            SubgroupArm(
                arm.arm,
                proportion_estimate(float(right.mean()), shares, patients=patients, confidence=recipe.confidence),
                percentile_estimate(
                    value, sample, patients=patients, confidence=recipe.confidence, reason=reason, lacking=FEW_HERE
                ),
            )
        )
    return Subgroup(
        trait,
        name,
        len(rows),
        patients,
        tuple(class_names[c] for c in present),
        tuple(of_arms),
        _difference(areas, patients, recipe.confidence),
        "",
    )


def _no_area(present: Sequence[int], labels: np.ndarray, class_names: Sequence[str]) -> str:
    return "" if present else f"every test image here is of class '{class_names[int(labels[0])]}'"


def _difference(areas: Mapping[ArmName, tuple[float, np.ndarray, str]], patients: int, confidence: float) -> Estimate:
    """Distilled minus raw, from the same resamples."""
    if "distilled" not in areas or "raw" not in areas:
        return Estimate.impossible("the arms 'distilled' and 'raw' were not both trained")
    (mine, my_sample, reason), (other, other_sample, other_reason) = areas["distilled"], areas["raw"]
    sample = my_sample - other_sample if not (reason or other_reason) else my_sample
    return percentile_estimate(
        mine - other, sample, patients=patients, confidence=confidence, reason=reason or other_reason, lacking=FEW_HERE
    )
