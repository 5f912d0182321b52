"""Estimates with intervals from resampled patients, each either a number or a stated reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

CHUNK = 64
"""Replicates drawn at once; with 10,000 images a chunk of weights then fits a processor's cache."""
LEAST_VALID = 0.95
"""Share of the resamples in which a statistic must exist for an interval to be given."""
LACKING = "too many resamples of the patients leave no image to count"
"""Why there is no interval, where nothing better is known."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, or why it cannot be estimated.

    Attributes:
        value: the point estimate, or None.
        low: lower limit of the interval, or None.
        high: upper limit of the interval, or None.
        reason: empty where value and interval stand; else why the value, or only its interval, cannot be estimated.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        present = [number for number in (self.value, self.low, self.high) if number is not None]
        if not np.isfinite(present).all() or not (self.reason or len(present) == 3):
            raise ValueError(f"{self} is neither a finite number with its interval nor says why not")

    @classmethod
    def impossible(cls, reason: str) -> Estimate:
        """No value, because of ``reason``: the end of the sentence "cannot be estimated, because ..."."""
        return cls(None, reason=reason)

    def as_json(self) -> dict[str, Any]:
        """Plain values, null for what is missing."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Estimate:
        """The inverse of `as_json`."""
        return cls(value["value"], value["low"], value["high"], value["reason"])


def number_groups(groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Renumber patients (N,) as 0..G-1 without gaps; return them and G."""
    present, numbers = np.unique(groups, return_inverse=True)
    return numbers, len(present)


def resamples(patients: int, replicates: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Draw ``patients`` patients with replacement, ``replicates`` times; yield how often each was drawn.

    Whole patients are drawn, since images of one patient are alike (Field and Welsh 2007, the cluster bootstrap).

    Yields:
        float32 (patients, R) with R <= `CHUNK`, so that memory stays bounded.
    """
    for start in range(0, replicates, CHUNK):
        size = min(CHUNK, replicates - start)
        drawn = rng.integers(0, patients, size=(patients, size)) * size + np.arange(size)
        yield np.bincount(drawn.ravel(), minlength=patients * size).reshape(patients, size).astype(np.float32)


def percentile_estimate(
    value: float,
    replicates: np.ndarray,
    *,
    patients: int,
    confidence: float,
    reason: str = "",
    rare: str = "",
    lacking: str = "",
) -> Estimate:
    """Percentile interval (Efron 1981) of a statistic from its bootstrap replicates.

    Args:
        value: the statistic on the patients as they are.
        replicates: (R,), the statistic on each resample, NaN where a resample has none.
        patients: how many patients the resamples drew from.
        confidence: level of the interval, such as 0.95.
        reason: why there is no value; where it is given, it is all that is told.
        rare: why the value stands without an interval, however well that could be worked out.
        lacking: why many resamples have no value, where they do.
    """
    if reason:
        return Estimate.impossible(reason)
    if patients < 2:
        return Estimate(value, reason="an interval needs at least 2 patients, and there is only 1")
    if rare:
        return Estimate(value, reason=rare)
    valid = replicates[np.isfinite(replicates)]
    if len(valid) < LEAST_VALID * len(replicates):
        return Estimate(value, reason=lacking or LACKING)
    if np.ptp(valid) <= 1e-12:
        return Estimate(value, reason="every resample of the patients gives the same value")
    tail = (1 - confidence) / 2
    low, high = np.quantile(valid, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def proportion_estimate(
    value: float,
    replicates: np.ndarray,
    *,
    patients: int,
    confidence: float,
    reason: str = "",
    rare: str = "",
    lacking: str = "",
) -> Estimate:
    """Like `percentile_estimate`, for a proportion over ``patients`` patients.

    Where the proportion is exactly 0 or 1 no resample differs from it and the percentile interval has no width. The
    exact binomial limit (Clopper and Pearson 1934) for ``patients`` patients who all agree is given instead.
    """
    if not (reason or rare) and value in (0.0, 1.0) and patients > 0:
        limit = ((1 - confidence) / 2) ** (1 / patients)
        return Estimate(value, limit, 1.0) if value == 1.0 else Estimate(value, 0.0, 1 - limit)
    return percentile_estimate(
        value, replicates, patients=patients, confidence=confidence, reason=reason, rare=rare, lacking=lacking
    )
