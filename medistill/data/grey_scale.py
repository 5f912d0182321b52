"""Grey scale: percentiles of an image's values and their stretch to 0..255, a block of the image at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

BLOCK = 1 << 16
"""Values that are worked on at once; so many stay in the processor's cache."""
STEP = 61
"""Of so many values one is looked at first; no usual width is a multiple of it, so no column is looked at alone."""
ROOM = 6
"""Standard deviations of a random sample's rank that are allowed for before all values are put in order."""


def percentiles(values: np.ndarray, percents: Sequence[float]) -> list[float]:
    """Percentiles of values, as `numpy.percentile` finds them between neighbours in order, without moving all of them.

    A sample says beyond which value a percentile's neighbours surely lie, on the side that holds fewer; only what lies
    there is put in order. Where the sample misleads, which the number of those values shows, all are.

    Args:
        values: float32 (N,), finite, N at least 1.
        percents: from 0 to 100.
    """
    sample = np.sort(values[::STEP])
    return [_percentile(values, sample, percent / 100) for percent in percents]


def _percentile(values: np.ndarray, sample: np.ndarray, share: float) -> float:
    at = (values.size - 1) * share
    lower, upper = int(at), min(int(at) + 1, values.size - 1)
    rank, room = sample.size * share, ROOM * math.sqrt(sample.size * share * (1 - share)) + 1
    if share > 0.5:
        kept = _chosen(values, np.greater_equal, sample[max(math.floor(rank - room), 0)])
        before = values.size - kept.size
    else:
        kept, before = _chosen(values, np.less_equal, sample[min(math.ceil(rank + room), sample.size - 1)]), 0
    if lower < before or upper >= before + kept.size:
        kept, before = values.copy(), 0
    kept.partition([lower - before, upper - before])
    return _between(kept[lower - before], kept[upper - before], at - lower)


def _chosen(values: np.ndarray, compare: np.ufunc, limit: np.float32) -> np.ndarray:
    """A copy of the values that lie on this side of the limit, or on it."""
    blocks = (values[start : start + BLOCK] for start in range(0, values.size, BLOCK))
    return np.concatenate([block[compare(block, limit)] for block in blocks])


def _between(low: np.float32, high: np.float32, share: float) -> float:
    """A share of the way between neighbours, rounded as numpy does it: from the nearer one."""
    step = float(high - low)
    return float(low) + step * share if share < 0.5 else float(high) - step * (1 - share)


def stretched(values: np.ndarray, low: float, high: float, kind: type[np.floating] = np.float32) -> np.ndarray:
    """Values so that ``low`` is 0 and ``high`` 255, what lies beyond cut off; in double precision, then rounded.

    Args:
        values: float32 of any shape, contiguous.
        kind: of what comes of it.

    Returns:
        The same shape.
    """
    done = np.empty(values.shape, kind)
    flat, out, scale = values.reshape(-1), done.reshape(-1), 255 / (high - low)
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK].astype(np.float64)
        block -= low
        block *= scale
        out[start : start + BLOCK] = np.clip(block, 0, 255, out=block)
    return done
