"""The test of canaries: its level, its power, and what it says where it cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medistill.privacy.attacks.canaries import canary_test


def test_with_one_canary_it_is_fishers_exact_test():
    numbers = np.random.default_rng(0)
    for _ in range(20):
        repeats, inserted = numbers.random((14, 1)) < 0.4, numbers.random((14, 1)) < 0.5
        table = [[np.sum(repeats & inserted), np.sum(~repeats & inserted)]]
        table += [[np.sum(repeats & ~inserted), np.sum(~repeats & ~inserted)]]
        wanted = stats.fisher_exact(table, "greater").pvalue
        assert canary_test(repeats, inserted, "distilled", level=0.95).chance == pytest.approx(wanted, abs=1e-9)


def test_memory_is_found_and_ignorance_is_not():
    numbers = np.random.default_rng(1)
    inserted = numbers.random((16, 10)) < 0.5
    remembered = canary_test(inserted | (numbers.random((16, 10)) < 0.1), inserted, "raw", level=0.95)
    assert remembered.chance < 1e-9
    assert remembered.inserted.value == 1.0
    assert remembered.absent.value < 0.3
    chances = []
    for _ in range(400):
        ease = numbers.random(10)  # some canaries look like their wrong label whoever holds them
        told = canary_test(numbers.random((16, 10)) < ease, numbers.random((16, 10)) < 0.5, "raw", level=0.95)
        chances.append(told.chance)
    assert np.mean(np.array(chances) <= 0.05) <= 0.08
    assert np.mean(chances) > 0.4


def test_canaries_that_nobody_held_tell_nothing():
    told = canary_test(np.zeros((6, 3), bool), np.zeros((6, 3), bool), "random", level=0.95)
    assert told.chance is None
    assert told.inserted.value is None
    assert told.inserted.reason
    assert told.absent.value == 0.0
