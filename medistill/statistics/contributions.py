"""Contributions: what each unit adds to class statistics, as one vector of norm at most 1.

Let z(i) be the projected features of image i, shortened to norm R; let unit u have the images I_u, and s_u(c) be the
share of them that show class c. Its blocks are

    sums    v_u(c) = 1 / |I_u| · Σ over i in I_u of class c of z(i),     ‖v_u‖ ≤ R ‖s_u‖ ≤ R
    counts  s_u,                                                         ‖s_u‖ ≤ Σ_c s_u(c) = 1
    second  M_u = 1 / |I_u| · Σ over i in I_u of z(i) z(i)ᵀ,             ‖M_u‖_F ≤ R²

all classes of a unit together: one that is in two classes is divided between them, and costs no more. With shares a, b
and m of the budget, a + b + m = 1, the stacked vector ( √a v_u / R, √b s_u, √m M_u / R² ) has norm at most 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

SLACK = 2.0**-30
"""By how much less than 1 the norm of a contribution is kept: far more than doubles can be off in working it out."""
PIECE = 2**24
"""Numbers of contributions that are worked out at once."""


@dataclass(frozen=True)
class Blocks:
    """How a contribution is laid out.

    Attributes:
        classes: C.
        dimension: K.
        clip: R.
        counts: share of the budget that counts have, in [0, 1); 0 leaves them out.
        second: share of the budget that second moments have, in [0, 1); 0 leaves them out.
    """

    classes: int
    dimension: int
    clip: float
    counts: float
    second: float

    @property
    def scales(self) -> tuple[float, float, float]:
        """What sums, counts and second moments are multiplied by before they are stacked."""
        sums = math.sqrt(1 - self.counts - self.second) / self.clip
        return sums, math.sqrt(self.counts), math.sqrt(self.second) / self.clip**2 if self.second else 0.0

    @property
    def length(self) -> int:
        """Numbers of a contribution."""
        triangle = self.dimension * (self.dimension + 1) // 2
        return self.classes * (self.dimension + bool(self.counts)) + (triangle if self.second else 0)

    def stacked(self, sums: np.ndarray, counts: np.ndarray, second: np.ndarray | None) -> np.ndarray:
        """Return (U, length) of blocks (U, C, K), (U, C) and (U, K, K).

        Of a symmetric matrix the upper triangle is taken, what is off the diagonal times √2: that keeps its norm.
        """
        of_sums, of_counts, of_second = self.scales
        parts = [of_sums * sums.reshape(len(sums), -1)]
        if self.counts:
            parts.append(of_counts * counts)
        if self.second and second is not None:
            rows, columns = np.triu_indices(self.dimension)
            parts.append(of_second * second[:, rows, columns] * np.where(rows == columns, 1.0, math.sqrt(2)))
        return np.concatenate(parts, axis=1)

    def unstacked(self, total: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Return sums (C, K), counts (C,) and second moments (K, K) of a stacked vector; None for what it has not."""
        of_sums, of_counts, of_second = self.scales
        end = self.classes * self.dimension
        sums = total[:end].reshape(self.classes, self.dimension) / of_sums
        counts = total[end : end + self.classes] / of_counts if self.counts else None
        if not self.second:
            return sums, counts, None
        rows, columns = np.triu_indices(self.dimension)
        triangle = total[end + (self.classes if self.counts else 0) :] / of_second
        second = np.zeros((self.dimension, self.dimension))
        second[rows, columns] = second[columns, rows] = triangle / np.where(rows == columns, 1.0, math.sqrt(2))
        return sums, counts, second


def contributions(
    project: Callable[[np.ndarray], np.ndarray], labels: np.ndarray, units: np.ndarray, blocks: Blocks
) -> Iterator[np.ndarray]:
    """Give the contributions of all units, float64 (some, length) at a time; each has norm at most 1 - `SLACK`.

    A unit that has a number which is not finite contributes nothing.

    Args:
        project: places of images among the N -> their projected features, float64 (some, K), each by itself.
        labels: int64 (N,), the class of each, from 0.
        units: int64 (N,), the unit of each.
        blocks: how they are laid out.
    """
    _, unit = np.unique(units, return_inverse=True)
    order = np.argsort(unit, kind="stable")
    ends = np.cumsum(np.bincount(unit)) if len(unit) else np.zeros(0, np.int64)
    widest = blocks.classes * blocks.dimension + (blocks.dimension**2 if blocks.second else 0)
    at_once = max(1, PIECE // widest)
    for first in range(0, len(ends), at_once):
        start, last = ends[first - 1] if first else 0, min(first + at_once, len(ends)) - 1
        rows = order[start : ends[last]]
        yield _of_units(project(rows), labels[rows], unit[rows] - first, blocks)


def _of_units(projected: np.ndarray, labels: np.ndarray, unit: np.ndarray, blocks: Blocks) -> np.ndarray:
    count = int(unit.max()) + 1
    norms = np.linalg.norm(projected, axis=1, keepdims=True)
    clipped = projected * (blocks.clip / np.maximum(norms, blocks.clip))
    share = 1.0 / np.bincount(unit)[unit]
    sums = np.zeros((count, blocks.classes, blocks.dimension))
    counts = np.zeros((count, blocks.classes))
    np.add.at(sums, (unit, labels), share[:, None] * clipped)
    np.add.at(counts, (unit, labels), share)
    second = None
    if blocks.second:
        second = np.zeros((count, blocks.dimension, blocks.dimension))
        for row, one in enumerate(unit):
            second[one] += share[row] * np.outer(clipped[row], clipped[row])
    stacked = blocks.stacked(sums, counts, second)
    size = np.linalg.norm(stacked, axis=1, keepdims=True)
    bounded = stacked * ((1 - SLACK) / np.maximum(size, 1 - SLACK))
    return np.where(np.isfinite(size), bounded, 0.0)
