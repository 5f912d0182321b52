"""Exact normal numbers against the normal distribution, on the whole line and in their last bits."""

from __future__ import annotations

import os

import numpy as np
from scipy import stats

from medistill.training.exact_normal import BITS, normal_steps

CHANCE = 1e-6
"""Probability below which a difference is no accident; the numbers come from the operating system, without a seed."""


def test_they_are_normal_as_a_whole_in_their_tails_and_in_their_last_bits() -> None:
    steps = normal_steps(12_000)
    assert stats.kstest((steps + 0.5) / 2**BITS, "norm").pvalue > CHANCE
    outside = int((np.abs(steps) > 3 * 2**BITS).sum())
    assert stats.binomtest(outside, len(steps), 2 * stats.norm.sf(3)).pvalue > CHANCE
    assert stats.chisquare(np.bincount(steps & 255, minlength=256)).pvalue > CHANCE
    assert stats.chisquare(np.bincount((steps >> (BITS - 8)) & 15, minlength=16), _cells(16, 8)).pvalue > CHANCE


def _cells(count: int, bits: int) -> np.ndarray:
    """Expected numbers of draws whose floor(2**bits z) leaves each of ``count`` remainders, from the integral."""
    edges = np.arange(-16 * 2**bits, 16 * 2**bits + 1)
    shares = np.diff(stats.norm.cdf(edges / 2**bits))
    return 12_000 * np.bincount(edges[:-1] % count, weights=shares, minlength=count)


def test_the_same_bytes_give_the_same_numbers_and_floor_is_taken_below_zero_too() -> None:
    def source() -> object:
        rng = np.random.default_rng(5)
        return lambda count: rng.bytes(count)

    first, second = (normal_steps(200, source()) for _ in range(2))  # type: ignore[arg-type]
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.int64
    assert (first < 0).any()
    assert (first >= 0).any()
    assert not np.array_equal(first, normal_steps(200, os.urandom))


def test_equal_words_are_told_apart_by_more_bits() -> None:
    """Words with two random bits each agree every fourth time: comparisons then run into the words after."""
    rng = np.random.default_rng(1)

    def coarse(count: int) -> bytes:
        return (rng.integers(0, 4, count // 8).astype(np.uint64) << np.uint64(62)).tobytes()

    whole = normal_steps(400, coarse) >> BITS
    assert -6 <= whole.min() <= whole.max() < 6
