"""Exact statements about counts, against scipy and by enumeration."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from medistill.privacy.exact import SLIGHT, chance_of_as_many, drawn_of, exact_proportion, heads_of, sum_at_least


@pytest.mark.parametrize(("found", "units"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (50, 600), (7000, 10_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_the_interval_of_a_proportion_is_clopper_and_pearsons(found, units, confidence):
    estimate = exact_proportion(found / units, units, confidence)
    wanted = stats.binomtest(found, units).proportion_ci(confidence, "exact")
    assert (estimate.low, estimate.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_a_share_between_two_counts_gets_the_wider_limits():
    between, fewer, more = (exact_proportion(share / 20, 20, 0.95) for share in (3.4, 3, 4))
    assert (between.low, between.high) == (fewer.low, more.high)


def test_tails_are_those_of_scipy():
    for marked, others, drawn in [(5, 9, 4), (3, 2, 4), (200, 700, 60), (4, 0, 3)]:
        wanted = stats.hypergeom.pmf(np.arange(drawn + 1), marked + others, marked, drawn)
        np.testing.assert_allclose(drawn_of(marked, others, drawn), wanted, atol=1e-12)


@pytest.mark.parametrize("false_positives", [0, 1, 2])
def test_the_chance_of_as_many_counts_every_order(false_positives):
    """All ways of placing 4 members among 9 ranks, by brute force."""
    found = []
    for placed in combinations(range(9), 4):
        member = np.isin(np.arange(9), placed)
        threshold = np.flatnonzero(~member)[-1 - false_positives]
        found.append(int(np.sum(np.array(placed) > threshold)))
    for many in range(5):
        wanted = np.mean(np.array(found) >= many)
        assert chance_of_as_many(many, 4, 5, false_positives) == pytest.approx(wanted, abs=1e-12)


def test_a_sum_of_counts_is_what_drawing_gives():
    shapes = [(2, 3, 2), (1, 4, 3), (5, 5, 4)]
    numbers = np.random.default_rng(0)
    drawn = sum(numbers.hypergeometric(*shape, size=200_000) for shape in shapes)
    parts = [drawn_of(*shape) for shape in shapes]
    for many in range(8):
        assert sum_at_least(many, parts) == pytest.approx(np.mean(drawn >= many), abs=0.005)


def test_heads_of_fair_coins_are_scipys() -> None:
    for coins in (0, 1, 7, 400):
        wanted = stats.binom.pmf(np.arange(coins + 1), coins, 0.5)
        assert heads_of(coins) == pytest.approx(wanted, rel=1e-9, abs=1e-300)


def test_a_sum_of_long_counts_is_never_too_unlikely_and_hardly_too_likely() -> None:
    parts = [heads_of(20_000), heads_of(25_000), heads_of(7)]
    for found in (0, 15_000, 22_400, 22_503, 22_900, 23_400, 24_000, 40_000, 45_007):
        exact = float(stats.binom.sf(found - 1, 45_007, 0.5))
        chance = sum_at_least(found, parts)
        assert exact * (1 - 1e-8) <= chance <= exact * (1 + 1e-8) + 10 * SLIGHT, found


def test_a_sum_of_short_counts_is_convolved_whole() -> None:
    parts = [heads_of(n) for n in (3000, 5000, 8000)]
    whole = np.convolve(np.convolve(parts[0], parts[1]), parts[2])
    for found in (0, 7900, 8000, 9000, 12_000, 16_000):
        assert sum_at_least(found, parts) == min(1.0, whole[found:].sum())


def test_many_shadows_and_canaries_take_seconds() -> None:
    """Without cut tails this takes 21 s of a processor: the numbers of 64 shadows and 1,000 canaries."""
    parts = []
    for weight in range(1, 16):
        spread = np.zeros(4000 * weight + 1)
        spread[::weight] = heads_of(4000)
        parts.append(spread)
    deviation = (4000 * sum(weight**2 for weight in range(1, 16)) / 4) ** 0.5
    started = time.process_time()
    chances = [sum_at_least(240_000 + int(by * deviation), parts) for by in (0, 2)]
    assert time.process_time() - started < 12
    assert chances == pytest.approx(stats.norm.sf((0, 2)), rel=0.01)
