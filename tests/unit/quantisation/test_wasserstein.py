"""Wasserstein distances against linear programmes, loops and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from medistill.quantisation import wasserstein
from medistill.quantisation.cells import quantise
from medistill.quantisation.wasserstein import RATE_COUNTS, rate, w2_mass, w2_random, w2_uniform


def transported(codes: np.ndarray, centres: np.ndarray, masses: np.ndarray) -> float:
    """W2 by a linear programme over all plans."""
    n, k = len(codes), len(centres)
    cost = ((codes[:, None].astype(np.float64) - centres[None]) ** 2).sum(axis=2)
    rows = np.kron(np.eye(n), np.ones(k))
    columns = np.kron(np.ones(n), np.eye(k))
    solved = linprog(
        cost.reshape(-1), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([np.full(n, 1 / n), masses])
    )
    return float(np.sqrt(solved.fun))


def drawn(seed: int, n: int, k: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)).astype(np.float32), rng.standard_normal((k, d)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 5), st.integers(1, 4))
def test_with_the_masses_of_the_cells_it_is_the_optimal_transport(seed, n, k, d):
    codes, centres = drawn(seed, n, k, d)
    nearest = [int(np.argmin([((x - y) ** 2).sum() for y in centres])) for x in codes]
    masses = np.bincount(nearest, minlength=k) / n
    assert w2_mass(codes, centres) == pytest.approx(transported(codes, centres, masses), rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))
def test_with_equal_weights_it_is_the_optimal_transport_and_never_less(seed, each, k, d):
    codes, centres = drawn(seed, each * k, k, d)
    found = w2_uniform(codes, centres)
    assert found == pytest.approx(transported(codes, centres, np.full(k, 1 / k)), rel=1e-4)
    assert found >= w2_mass(codes, centres) * (1 - 1e-6)


def test_equal_weights_cost_what_has_to_be_moved_from_a_large_group_to_a_small_one():
    codes = np.array([[0.0]] * 30 + [[1.0]] * 10, np.float32)
    centres = np.array([[0.0], [1.0]], np.float32)
    assert w2_mass(codes, centres) == 0
    assert w2_uniform(codes, centres) == pytest.approx(0.5)  # a quarter of the mass, over a distance of 1


def test_more_codes_than_are_transported_are_sampled_evenly(monkeypatch):
    codes, centres = drawn(0, 900, 7, 3)
    whole = w2_uniform(codes, centres)
    monkeypatch.setattr(wasserstein, "TRANSPORTED", 300)
    assert w2_uniform(codes, centres) == pytest.approx(whole, rel=0.1)
    assert w2_uniform(codes, drawn(1, 1, 400, 3)[1]) > 0  # one code each


@pytest.mark.parametrize("count", [1, 2, 5])
def test_centroids_of_the_unit_interval_are_as_far_as_they_must_be(count):
    codes = ((np.arange(6_000) + 0.5) / 6_000).astype(np.float32)[:, None]
    cells = quantise(
        codes, np.arange(6_000), count, least=1, passes=3, refine=300, batch=512, seed=0, name="", tick=lambda _: None
    )
    assert w2_mass(codes, cells.centres) == pytest.approx(1 / (2 * count * 3**0.5), rel=2e-3)
    np.testing.assert_allclose(np.sort(cells.centres[:, 0]), (np.arange(count) + 0.5) / count, atol=5e-3)


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_the_rate_falls_as_a_power_that_the_dimension_gives(dimension):
    codes = np.random.default_rng(0).random((5_000, dimension)).astype(np.float32)
    found = rate(codes, (10, 20, 50, 100), seed=0)
    slope = np.polyfit(np.log([k for k, _ in found]), np.log([w2 for _, w2 in found]), 1)[0]
    assert slope == pytest.approx(-1 / dimension, rel=0.15)


def test_numbers_beyond_a_quarter_of_the_codes_or_the_different_ones_are_left_out():
    codes, _ = drawn(0, 60, 1, 3)
    assert [k for k, _ in rate(codes, seed=0)] == [1, 2, 5, 10]
    values = [w2 for _, w2 in rate(codes, seed=0)]
    assert values == sorted(values, reverse=True)
    assert [k for k, _ in rate(np.tile(codes[:3], (100, 1)), RATE_COUNTS, seed=0)] == [1, 2]
    assert rate(codes[:3], seed=0) == []


def test_random_subsets_are_real_codes_and_worse_than_centroids():
    codes, _ = drawn(0, 800, 1, 2)
    cells = quantise(
        codes, np.arange(800), 10, least=1, passes=3, refine=50, batch=256, seed=0, name="", tick=lambda _: None
    )
    found = w2_random(codes, 10, draws=5, seed=3)
    assert found > 1.1 * w2_mass(codes, cells.centres)
    assert found == w2_random(codes, 10, draws=5, seed=3) != w2_random(codes, 10, draws=5, seed=4)
    assert w2_random(codes, 800, draws=1, seed=0) == pytest.approx(0, abs=1e-6)
    spread = float(np.sqrt(codes.var(axis=0).sum()))
    assert w2_random(codes, 1, draws=400, seed=0) == pytest.approx(2**0.5 * spread, rel=0.1)
