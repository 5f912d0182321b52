"""Adding: class statistics of several places, each of other patients, are added up exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import ValidationError

from medistill.artifacts.class_statistics import ClassStatistics
from medistill.errors import ArtifactError, DataError, first_complaint

Part = tuple[str, ClassStatistics, Sequence[str]]
"""What messages call statistics, these, and how each of their classes is called in the sum."""


def added(parts: Sequence[Part]) -> ClassStatistics:
    """Return the sum: sums, counts and second moments add, and so do the variances of their noise.

    Statistics of all places together would be this sum, but for noise that is drawn once each. Classes are united by
    their names; one that a place has not adds nothing there, no noise either.

    Raises:
        DataError: another space, clip or unit, second moments that not all have, or a sum that is out of range or of a
            class that cannot be called so.
    """
    (first_name, first, _), *others = parts
    for name, one, _ in others:
        for what, mine, theirs in (
            ("encoder or projection", first.projection.digest, one.projection.digest),
            ("clip", first.record.clip, one.record.clip),
            ("unit", first.record.unit, one.record.unit),
            ("second moments", first.second is None, one.second is None),
        ):
            if mine != theirs:
                raise DataError(
                    f"the class statistics of {name} and {first_name} differ in their {what}",
                    expected="the same encoder, projection, clip and unit in every set",
                    do="make them with one recipe and one projection, or leave them out (--without-statistics)",
                )
    names = tuple(dict.fromkeys(name for _, _, own in parts for name in own))
    sums, counts = np.zeros((len(names), first.projection.dimension)), np.zeros(len(names))
    variances = {noise: np.zeros(len(names)) for noise in ("sums_noise", "counts_noise")}
    for _, one, own in parts:
        rows = [names.index(name) for name in own]
        np.add.at(sums, rows, one.sums)
        np.add.at(counts, rows, one.counts)
        for noise, variance in variances.items():
            np.add.at(variance, rows, np.array(getattr(one.record, noise)) ** 2)
    second = [one.second for _, one, _ in parts if one.second is not None]
    try:
        return ClassStatistics(
            sums=sums,
            counts=counts,
            second=np.sum(second, axis=0) if second else None,
            projection=first.projection,
            record=first.record.replaced(
                class_names=names,
                **{noise: tuple(np.sqrt(variance).tolist()) for noise, variance in variances.items()},
                second_noise=math.sqrt(math.fsum(one.record.second_noise**2 for _, one, _ in parts)),
                releases=sum(one.record.releases for _, one, _ in parts),
            ),
        )
    except (ValidationError, ArtifactError) as error:
        why = first_complaint(error) if isinstance(error, ValidationError) else error.seen
        raise DataError(
            f"the class statistics of {', '.join(name for name, _, _ in parts)} have no sum: {why}",
            expected="a sum that could be class statistics itself, in the range of its numbers and in its classes",
            do="do not rely on these sets, name the classes otherwise (--label-map), or leave the statistics out "
            "(--without-statistics)",
        ) from None
