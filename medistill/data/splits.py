"""Splits: patients parted into train, val and test, alike in classes and sites; given splits are kept."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np

from medistill.artifacts.corpus import SPLITS, Split
from medistill.errors import DataError
from medistill.recipe import UNITS, DataRecipe, Unit

TRAIN, VAL, TEST = range(3)


def part(
    given: Sequence[Split | None],
    labels: np.ndarray,
    groups: np.ndarray,
    sites: np.ndarray,
    recipe: DataRecipe,
    numbers: np.random.Generator,
    *,
    unit: Unit = "patient",
) -> tuple[np.ndarray, Literal["given", "drawn"], list[str]]:
    """Give every image a split.

    Where a split is given for all images it is kept; a missing val or test split is cut out of train, by patient.

    Args:
        given: a split or None for each of N images.
        labels: int64 (N,) classes.
        groups: int64 (N,) patients.
        unit: what they are called, where some are studies or images alone.
        sites: int64 (N,) sites.

    Returns:
        int64 (N,) index into `SPLITS`, where they come from, and what the report has to say of it.

    Raises:
        DataError: a patient is in two given splits, or only a part of the images has one.
    """
    stated = np.array([-1 if split is None else SPLITS.index(split) for split in given], np.int64)
    if (stated < 0).all():
        shares = {VAL: recipe.val_fraction, TEST: recipe.test_fraction}
        splits = np.full(len(stated), TRAIN, np.int64)
        return _cut(splits, labels, groups, sites, shares, numbers), "drawn", []
    if (stated < 0).any():
        raise DataError(
            f"{int((stated < 0).sum())} of {len(stated)} images lie outside the folders train, val and test",
            expected="a split for all images or for none",
            do="move them into one of these folders, or take these folders away",
        )
    refuse_shared_patients(given, groups.tolist(), unit=unit)
    notes, shares = [], {}
    for split, share in ((VAL, recipe.val_fraction), (TEST, recipe.test_fraction)):
        if not (stated == split).any():
            shares[split] = share
            notes.append(
                f"No {SPLITS[split]} split was given: {share:.0%} of the training {UNITS[unit]} were taken for it."
            )
    return _cut(stated, labels, groups, sites, shares, numbers), "given", notes


def refuse_shared_patients(
    given: Sequence[Split | None], patients: Sequence[Hashable], *, unit: Unit = "patient"
) -> None:
    """Refuse given splits that share a patient. Those without a split or a patient ("" or None) do not count.

    Raises:
        DataError: a patient is in two of them.
    """
    splits: dict[Hashable, set[Split]] = {}
    for split, patient in zip(given, patients, strict=True):
        if split is not None and patient not in ("", None):
            splits.setdefault(patient, set()).add(split)
    shared = sum(1 for of_patient in splits.values() if len(of_patient) > 1)
    if shared:
        raise DataError(
            f"{shared} {f'{unit} has' if shared == 1 else f'{UNITS[unit]} have'} images in more than one of the given "
            "splits",
            expected="every patient in one split: networks would be tested on patients that they have seen",
            do=f"correct the split column or the folders, or take the given splits away to have them drawn by {unit}",
        )


def _cut(
    splits: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    sites: np.ndarray,
    shares: dict[int, float],
    numbers: np.random.Generator,
) -> np.ndarray:
    """Move ``shares`` of the training patients, class by class and site by site, to other splits."""
    splits = splits.copy()
    rows = np.flatnonzero(splits == TRAIN)
    rarity = np.bincount(labels[rows], minlength=labels.max() + 1)[labels[rows]]
    rows = rows[np.lexsort((rows, rarity, groups[rows]))]
    _, first = np.unique(groups[rows], return_index=True)
    rows = rows[first]  # a patient of several classes counts in the rarest
    for label in np.unique(labels[rows]):
        of_class = rows[labels[rows] == label]
        owed = dict.fromkeys(shares, 0.0)
        moved = dict.fromkeys(shares, 0)
        queue: list[int] = []
        for site in np.unique(sites[of_class]):
            here = numbers.permutation(groups[of_class[sites[of_class] == site]])
            start = 0
            for split, share in shares.items():
                owed[split] += share * len(here)
                waiting = 1 + sum(1 for other in shares if other != split and moved[other] == 0)  # 1 for train
                spare = max(len(of_class) - sum(moved.values()) - waiting, 0)
                count = min(round(owed[split]), len(here) - start, spare)
                owed[split] -= count
                moved[split] += count
                splits[np.isin(groups, here[start : start + count])] = split
                start += count
            queue.extend(here[start:])
        for split in shares:  # a class with few patients still gets one in each split, the last one stays in train
            if moved[split] == 0 and len(queue) > 1:
                splits[groups == queue.pop()] = split
    return splits
