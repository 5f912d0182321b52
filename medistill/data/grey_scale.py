"""Grey scale: percentiles of an image's values and their stretch to 0..255, a block of the image at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BLOCK = 1 << 16
"""Values that are worked on at once; so many stay in the processor's cache."""
TOP = 1 << 16
"""Numbers of 16 bits, by which values are first counted."""


def percentiles(values: np.ndarray, percents: Sequence[float]) -> list[float]:
    """Percentiles of values, as `numpy.percentile` finds them between neighbours in order, without moving any.

    The bits of a float32 that is not negative grow with it; those of a negative one fall. So values are counted by
    their upper 16 bits, and only those that share them with a neighbour that is looked for are put in order.

    Args:
        values: float32 (N,), finite, N at least 1.
        percents: from 0 to 100.
    """
    upper = values.view(np.uint32).reshape(-1)
    counts = np.zeros(TOP, np.int64)
    for start in range(0, upper.size, BLOCK):
        counts += np.bincount(upper[start : start + BLOCK] >> np.uint32(16), minlength=TOP)
    order = np.concatenate([np.arange(TOP - 1, TOP // 2 - 1, -1), np.arange(TOP // 2)])
    cumulative = counts[order].cumsum()
    positions = [(values.size - 1) * (percent / 100) for percent in percents]
    neighbours = {n for at in positions for n in (int(at), min(int(at) + 1, values.size - 1))}
    found: dict[int, np.float32] = {}
    for place in {int(np.searchsorted(cumulative, n, side="right")) for n in neighbours}:
        before, end = (int(cumulative[place - 1]) if place else 0), int(cumulative[place])
        wanted = [n for n in neighbours if before <= n < end]
        alike = _alike(values, np.uint32(order[place]))
        alike.partition([n - before for n in wanted])
        found |= {n: alike[n - before] for n in wanted}
    return [_between(found[int(at)], found[min(int(at) + 1, values.size - 1)], at - int(at)) for at in positions]


def _alike(values: np.ndarray, upper: np.uint32) -> np.ndarray:
    """A copy of the values with these upper 16 bits."""
    blocks = (values[start : start + BLOCK] for start in range(0, values.size, BLOCK))
    return np.concatenate([block[block.view(np.uint32) >> np.uint32(16) == upper] for block in blocks])


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
