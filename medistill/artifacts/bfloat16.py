"""bfloat16 as bytes: the upper half of a float32, which NumPy has no type for."""

from __future__ import annotations

import numpy as np

RELATIVE_ERROR = 2.0**-8
"""Largest relative error of a rounded value that is 0 or at least 2**-126 in size (8 bits of significand)."""

LARGEST = 2.0**127 * (2 - 2.0**-7)
"""Largest finite bfloat16."""


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Round float32 of at most ``LARGEST`` in size to the nearest bfloat16, to even in a tie; uint16 bits."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    to_even = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + to_even) >> np.uint32(16)).astype(np.uint16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Widen uint16 bits to float32; exact."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
