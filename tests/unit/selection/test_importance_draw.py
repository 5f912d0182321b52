"""Importance of originals against singular values, and draws against the probabilities that they promise."""

from __future__ import annotations

import numpy as np
import pytest

from medistill.selection.importance import by_distance, by_leverage, draw, inclusion

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(40, 6)) * np.array([9, 4, 2, 1, 0.3, 0.1]) + 5


def test_leverage_is_that_of_the_singular_values() -> None:
    """sum over j of u_ij^2 s_j^2 / (s_j^2 + lambda), and 1/n for the intercept."""
    centred = FEATURES - FEATURES.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    penalty = np.sum(s**2) / len(centred)
    expected = 1 / len(centred) + u**2 @ (s**2 / (s**2 + penalty))
    np.testing.assert_allclose(by_leverage(FEATURES), expected / expected.sum(), rtol=1e-12)


def test_leverage_is_the_diagonal_of_the_kernel_over_the_kernel_with_its_ridge() -> None:
    centred = FEATURES - FEATURES.mean(axis=0)
    kernel = centred @ centred.T
    penalty = np.trace(kernel) / len(kernel)
    expected = np.diag(kernel @ np.linalg.inv(kernel + penalty * np.eye(len(kernel)))) + 1 / len(kernel)
    np.testing.assert_allclose(by_leverage(FEATURES), expected / expected.sum(), rtol=1e-10)


def test_distance_is_a_loop_over_the_images() -> None:
    mean = sum(FEATURES) / len(FEATURES)
    squares = [float(sum((one - mean) ** 2)) for one in FEATURES]
    expected = [0.5 / len(FEATURES) + 0.5 * square / sum(squares) for square in squares]
    np.testing.assert_allclose(by_distance(FEATURES), expected, rtol=1e-12)


@pytest.mark.parametrize("score", [by_leverage, by_distance])
def test_equal_images_are_alike_and_the_unlike_one_is_likelier(score) -> None:
    np.testing.assert_allclose(score(np.ones((5, 3))), np.full(5, 0.2))
    np.testing.assert_allclose(score(np.zeros((1, 1))), [1.0])
    unlike = np.zeros((9, 3))
    unlike[4] = 7
    assert score(unlike).argmax() == 4
    assert score(unlike).sum() == pytest.approx(1)


@pytest.mark.parametrize("count", [0, 1, 3, 7, 8])
def test_probabilities_add_up_to_the_number_that_is_drawn(count: int) -> None:
    q = np.array([0.6, 0.2, 0.1, 0.04, 0.03, 0.01, 0.01, 0.01])
    shares = inclusion(q, count)
    assert shares.sum() == pytest.approx(count)
    assert shares.max() <= 1
    free = shares < 1
    np.testing.assert_allclose(shares[free] * q[free].sum(), q[free] * shares[free].sum(), rtol=1e-12)
    for seed in range(20):
        at = draw(q, count, np.random.default_rng(seed)).at
        assert len(set(at.tolist())) == len(at) == count


def test_weights_make_the_estimate_of_a_sum_unbiased() -> None:
    q, values = by_leverage(FEATURES), FEATURES[:, 0] ** 2
    rng = np.random.default_rng(3)
    draws = [draw(q, 5, rng) for _ in range(20_000)]
    seen = np.bincount(np.concatenate([drawn.at for drawn in draws]), minlength=len(q)) / len(draws)
    np.testing.assert_allclose(seen, inclusion(q, 5), atol=5 * np.sqrt(0.25 / len(draws)))
    estimates = np.array([drawn.weights @ values[drawn.at] for drawn in draws])
    assert abs(estimates.mean() - values.sum()) < 4 * estimates.std() / np.sqrt(len(draws))


def test_a_draw_depends_on_the_generator_alone() -> None:
    q = by_distance(FEATURES)
    first, again, other = (draw(q, 6, np.random.default_rng(seed)).at.tolist() for seed in (1, 1, 2))
    assert first == again != other
