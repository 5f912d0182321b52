"""Exact normal numbers, rounded down to a lattice: drawn with integers alone, so that no double shows through.

Noise that is computed in doubles lies on a lattice of its own, uneven and known to everybody: which sums are possible
can then tell what the noise was added to (Mironov 2012). Here a normal variable is drawn exactly, by comparing uniform
numbers whose bits come from the operating system as they are needed, and is then cut to a whole number of steps
(Karney 2016, algorithm N: Sampling exactly from the normal distribution, ACM TOMS 42(1), arXiv:1303.6257).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import numpy as np

BITS = 32
"""A standard deviation has 2**BITS steps."""
WORD = 64
"""Bits of a uniform number that are drawn at once."""
POOL = 4096
"""Words that are asked of the operating system at once."""

Uniform = list[int]
"""A uniform number in (0, 1) as far as it is known: its words, most significant first."""


def normal_steps(count: int, source: Callable[[int], bytes] = os.urandom) -> np.ndarray:
    """Return int64 (count,): floor(2**BITS z) of independent standard normal z, without any error but that floor.

    Args:
        count: how many.
        source: gives as many random bytes as it is asked for; a test may inject its own.
    """
    draw = _Draw(source)
    return np.array([draw.normal() for _ in range(count)], np.int64)


class _Draw:
    """Random decisions, each exact."""

    def __init__(self, source: Callable[[int], bytes]) -> None:
        self._source = source
        self._words: list[int] = []

    def normal(self) -> int:
        """Floor of 2**BITS times a standard normal variable (algorithm N)."""
        while True:
            k = 0
            while self._half():
                k += 1
            if not all(self._half() for _ in range(k * (k - 1))):
                continue
            x = [self._word()]
            if all(self._accepts(k, x) for _ in range(k + 1)):
                size = (k << BITS) | (x[0] >> (WORD - BITS))
                return size if self._word() & 1 else -(size + 1)

    def _half(self) -> bool:
        """True with probability exp(-1/2) (algorithm H): a run of falling numbers, all below 1/2, is even in length."""
        last = [self._word()]
        if last[0] >> (WORD - 1):
            return True
        even = False
        while self._below(new := [self._word()], last):
            last, even = new, not even
        return even

    def _accepts(self, k: int, x: Uniform) -> bool:
        """True with probability exp(-x (2k + x) / (2k + 2)) (algorithm B)."""
        last, even = x, True
        while self._below(new := [self._word()], last) and self._share(k, x):
            last, even = new, not even
        return even

    def _share(self, k: int, x: Uniform) -> bool:
        """True with probability (2k + x) / (2k + 2)."""
        picked = self._one_of(2 * k + 2)
        return picked < 2 * k or (picked == 2 * k and self._below([self._word()], x))

    def _one_of(self, count: int) -> int:
        """A whole number below ``count``, each as likely: words beyond a multiple of it are drawn again."""
        most = (1 << WORD) // count * count
        while (word := self._word()) >= most:
            pass
        return word % count

    def _below(self, one: Uniform, other: Uniform) -> bool:
        """Whether a uniform number is smaller than another; where all known bits agree, more are drawn."""
        place = 0
        while True:
            for number in (one, other):
                if place == len(number):
                    number.append(self._word())
            if one[place] != other[place]:
                return one[place] < other[place]
            place += 1

    def _word(self) -> int:
        if not self._words:
            self._words = list(struct.unpack(f"{POOL}Q", self._source(8 * POOL)))
        return self._words.pop()
