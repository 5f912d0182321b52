"""Release: class statistics of a corpus with noise on them, drawn once.

What units contribute is cut to whole steps of a lattice, towards 0, and added up as integers: so the order of the sum
changes nothing, and one unit moves it by at most 2**BITS / sigma steps in L2 norm, exactly. The noise is normal with a
deviation of 2**BITS steps, cut down to whole steps (`training.exact_normal`). A sum of integers plus the floor of a
number is the floor of their sum: what leaves is the Gaussian mechanism of real numbers, then rounded down, which no
look at the patients is needed for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from medistill.artifacts.class_statistics import LARGEST, ClassStatistics, StatisticsRecord
from medistill.artifacts.projection import Projection
from medistill.errors import RecipeError
from medistill.recipe import Unit
from medistill.statistics.contributions import Blocks, contributions
from medistill.training.exact_normal import BITS, normal_steps

MOST_UNITS, MOST_DEVIATIONS = 2**20, 64
"""Units, and deviations of the noise, that what is released must have room for."""


def release(
    features: Callable[[np.ndarray], np.ndarray],
    labels: np.ndarray,
    units: np.ndarray,
    *,
    class_names: Sequence[str],
    projection: Projection,
    blocks: Blocks,
    sigma: float,
    unit: Unit,
    public_counts: Sequence[float] = (),
    noise: Callable[[int], np.ndarray] = normal_steps,
) -> ClassStatistics:
    """Draw the noise and return the statistics: whoever calls this spends the budget that sigma was solved for.

    Args:
        features: places of images among the N -> their features (some, D), each image's by itself.
        labels: int64 (N,), the class of each, from 0.
        units: int64 (N,), the unit of each.
        class_names: of each class.
        projection: public, from features to the numbers that are added up.
        blocks: how a contribution is laid out.
        sigma: noise in units of the largest norm of a contribution.
        unit: what a unit is.
        public_counts: of each class, where ``blocks`` has no counts.
        noise: int64 (count,) of steps; tests alone put another one in its place.
    """
    record = record_of(class_names, projection=projection, blocks=blocks, sigma=sigma, unit=unit)
    total = summed(lambda some: projection.apply(features(some)), labels, units, blocks, sigma) + noise(blocks.length)
    sums, counts, second = blocks.unstacked((total + 0.5) * (sigma / 2**BITS))
    return ClassStatistics(
        sums=sums,
        counts=np.array(public_counts, np.float64) if counts is None else counts,
        second=second,
        projection=projection,
        record=record,
    )


def record_of(
    class_names: Sequence[str], *, projection: Projection, blocks: Blocks, sigma: float, unit: Unit
) -> StatisticsRecord:
    """Return what is said of a release, all of which is known before it; the arguments are those of `release`.

    Raises:
        RecipeError: numbers might leave the range that class statistics have.
    """
    of_sums, of_counts, of_second = blocks.scales
    noise = max(sigma / scale for scale in (of_sums, of_counts, of_second) if scale)
    if MOST_DEVIATIONS * noise + MOST_UNITS * max(1, blocks.clip, blocks.clip**2 if blocks.second else 0) > LARGEST:
        raise RecipeError(
            f"privacy.clip = {blocks.clip:g} and the shares of the budget may give sums that are too large to be kept",
            expected=f"numbers up to {LARGEST:g}, the noise included",
            do="set privacy.clip nearer to 1; no part of the budget should be next to nothing",
        )
    return StatisticsRecord(
        class_names=tuple(class_names),
        unit=unit,
        clip=blocks.clip,
        sums_noise=(sigma / of_sums,) * blocks.classes,
        counts_noise=(sigma / of_counts if blocks.counts else 0.0,) * blocks.classes,
        second_noise=sigma / of_second if blocks.second else 0.0,
        projection=projection.record,
    )


def summed(
    project: Callable[[np.ndarray], np.ndarray], labels: np.ndarray, units: np.ndarray, blocks: Blocks, sigma: float
) -> np.ndarray:
    """Return int64 (length,): the contributions of all units in steps, added up without noise.

    A unit adds at most 2**BITS / sigma steps in L2 norm. There is room for 2**20 units at a sigma of 0.01.
    """
    total = np.zeros(blocks.length, np.int64)
    for some in contributions(project, labels, units, blocks):
        total += np.trunc(some * (2**BITS / sigma)).astype(np.int64).sum(axis=0)
    return total
