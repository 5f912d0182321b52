"""Rare classes: those of so few test patients that no interval of their own figures would hold what it promises."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medistill.evaluate.evaluation import Evaluation

ABSENT = 0.01
"""Share of the resamples without a class from which it is named as the reason why a figure has no interval."""
MOST_NAMED = 5
"""Classes that such a reason names; the others are counted."""
REMEDY = (
    "give the test split more patients of the class (a larger data.test_fraction, or more patients), or unite the "
    "class with another one"
)
"""What helps where a class has too few test patients."""


def few_patients(name: str, patients: int) -> str:
    """How many test patients a class has: "Bacterial pneumonia has 2 test patients"."""
    return f"{name.replace('_', ' ')} has {patients} test {'patient' if patients == 1 else 'patients'}"


def patients_with(cases: np.ndarray, groups: np.ndarray) -> tuple[int, ...]:
    """Patients with an image of each class, from ``cases`` (C, N) bool and the patient of each image (N,)."""
    return tuple(len(np.unique(groups[of_class])) for of_class in cases)


def rare_classes(class_names: Sequence[str], patients: Sequence[int], smallest: int) -> tuple[str, ...]:
    """Of each class why its own figures have no interval; empty where it is not in the test split, or not rare.

    Args:
        class_names: one a class.
        patients: test patients with an image of each.
        smallest: fewest patients of a class whose figures have an interval (``evaluate.smallest_cell``).
    """
    counted = zip(class_names, patients, strict=True)
    return tuple(few_patients(name, count) if 0 < count < smallest else "" for name, count in counted)


def without_interval(evaluation: Evaluation) -> tuple[str, ...]:
    """Classes that have too few test patients for intervals of their own figures."""
    counted = dict(zip(evaluation.class_names, evaluation.class_patients, strict=True))
    results = evaluation.arms[0].classes if evaluation.arms else ()
    return tuple(one.name for one in results if one.auc.reason == few_patients(one.name, counted.get(one.name, 0)))


def often_absent(class_names: Sequence[str], patients: Sequence[int], of: int) -> str:
    """Which classes resamples of ``of`` patients often lack, with their patients; empty where there is none.

    Of ``of`` patients drawn with replacement, none of a class of n is drawn with probability (1 - n / of)^of, which is
    about exp(-n).
    """
    counted = sorted(zip(patients, class_names, strict=True))
    rare = [few_patients(name, count) for count, name in counted if count > 0 and (1 - count / of) ** of > ABSENT]
    if len(rare) > MOST_NAMED:
        rare = [*rare[:MOST_NAMED], f"{len(rare) - MOST_NAMED} more have few"]
    return " and ".join([", ".join(rare[:-1]), rare[-1]] if len(rare) > 1 else rare)


def often_absent_in(evaluation: Evaluation) -> str:
    """`often_absent` of the test split of an evaluation."""
    return often_absent(evaluation.class_names, evaluation.class_patients, evaluation.test_patients)
