"""The search for copies against a naive oracle, scikit-image's or scipy's figures, and what its rule does."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from medistill.privacy import copies
from medistill.privacy.copies import (
    compare_in,
    compare_structure,
    contrast_normalised,
    copy_limit,
    crops,
    drawn_above,
    nearest,
    windows,
)

COUNT, SIDE = 30, 10


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(COUNT, 1, SIDE, SIDE)).astype(np.float32))


def naive(query: np.ndarray, image: np.ndarray) -> float:
    """The largest correlation over the nine shifts, one at a time."""
    middle = image[0, 1:-1, 1:-1].ravel()
    return max(
        pearsonr(query[0, y : y + SIDE - 2, x : x + SIDE - 2].ravel(), middle)[0] for y in range(3) for x in range(3)
    )


def unit(rows: torch.Tensor) -> torch.Tensor:
    return contrast_normalised(crops(rows).flatten(1))


@pytest.mark.parametrize("largest_block", [2**24, 1200])
def test_the_nearest_are_those_of_a_loop_over_pairs(
    largest_block: int, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "LARGEST_BLOCK", largest_block)
    queries = images[:5] + 0.8 * images[5:10]
    rows = np.arange(8, COUNT)
    found = nearest(
        contrast_normalised(windows(queries).flatten(2)),
        rows,
        lambda some: unit(images[torch.from_numpy(some)]),
        level=np.full(5, 0.2, np.float32),
    )
    table = np.array([[naive(query.numpy(), images[row].numpy()) for row in rows] for query in queries])
    np.testing.assert_allclose(found.similarity, -np.sort(-table, axis=1)[:, : copies.SHORTLIST], atol=1e-5)
    np.testing.assert_array_equal(found.rows[:, 0], rows[table.argmax(axis=1)])
    np.testing.assert_array_equal(found.above, (table > 0.2).sum(axis=1))


def test_the_distance_is_the_euclidean_one_after_contrast_normalisation(images: torch.Tensor) -> None:
    found = nearest(unit(images[:3])[:, None], np.arange(5, 20), lambda some: unit(images[torch.from_numpy(some)]))
    ours, theirs = unit(images[:3]).numpy(), unit(images[5:20]).numpy()
    loop = np.linalg.norm(ours[:, None] - theirs[None], axis=2).min(axis=1)
    np.testing.assert_allclose(found.distance, loop, atol=1e-5)


def test_a_patients_own_images_take_no_part(images: torch.Tensor) -> None:
    groups = np.arange(COUNT) // 2
    query = unit(images[[4]])[:, None]
    rows = np.arange(COUNT)
    read = lambda some: unit(images[torch.from_numpy(some)])  # noqa: E731
    assert nearest(query, rows, read).rows[0, 0] == 4
    found = nearest(query, rows, read, groups=groups, own=groups[[4]])
    assert not {4, 5} & set(found.rows[0].tolist())


@given(st.integers(1, 40), st.data())
@settings(max_examples=50, deadline=None)
def test_the_chance_of_a_draw_is_the_hypergeometric_one(count: int, data: st.DataObject) -> None:
    drawn, above = data.draw(st.integers(0, count)), data.draw(st.integers(0, count))
    expected = 1 - comb(count - above, drawn) / comb(count, drawn)
    assert drawn_above(np.array([above]), count, drawn)[0] == pytest.approx(expected)


@pytest.mark.parametrize(("inside", "outside"), [(20, 6), (6, 20)])
def test_nearer_is_what_many_equal_draws_give(inside: int, outside: int, images: torch.Tensor) -> None:
    numbers = np.random.default_rng(3)
    train, held_out = np.arange(4, 4 + inside), np.arange(4 + inside, 4 + inside + outside)
    queries = unit(images[:4])[:, None]
    read = lambda some: unit(images[torch.from_numpy(some)])  # noqa: E731
    found, _, _ = compare_in(
        queries, train, held_out, read, np.arange(COUNT), np.full(4, -1), lambda some: read(some)[:, None]
    )
    similarity = (queries[:, 0] @ unit(images).T).numpy()
    size, wins = min(inside, outside), np.zeros(4)
    for _ in range(4000):
        some, others = numbers.permutation(train)[:size], numbers.permutation(held_out)[:size]
        wins += similarity[:, some].max(axis=1) > similarity[:, others].max(axis=1)
    np.testing.assert_allclose(found.nearer, wins / 4000, atol=0.04)


def test_structural_similarity_is_one_for_the_same_image_at_any_contrast(images: torch.Tensor) -> None:
    smooth = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    queries = 0.3 * smooth[:4].roll(1, dims=3) + 2
    read = lambda some: unit(smooth[torch.from_numpy(some)])  # noqa: E731
    _, inside, outside = compare_in(
        contrast_normalised(windows(queries).flatten(2)),
        np.arange(15),
        np.arange(15, COUNT),
        read,
        np.arange(COUNT),
        np.full(4, -1),
        lambda some: contrast_normalised(windows(smooth[torch.from_numpy(some)]).flatten(2)),
    )
    found = compare_structure(queries, inside, outside, lambda some: smooth[torch.from_numpy(some)])
    np.testing.assert_array_equal(found.train_rows, np.arange(4))
    assert found.train.max() < 0.05
    assert found.held_out.min() > 0.3
    assert found.ratio.max() < 0.2


def test_the_limit_falls_where_real_images_lie_as_near() -> None:
    spread = np.linspace(0.8, 1.2, 200)
    assert copy_limit(spread, 0.5) == copies.CopyLimit(0.5, 200)
    alike = np.concatenate([np.full(10, 0.3), spread])
    assert copy_limit(alike, 0.5).ratio == pytest.approx(0.3)
    assert copy_limit(alike[:0], 0.5) == copies.CopyLimit(0.5, 0)


def test_noise_that_is_like_no_image_leaves_the_ratio_of_a_copy_at_zero() -> None:
    """By hand on a plane: the query's foot on the line from the training image to the held-out one."""
    train, held_out = torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])
    for share, across in ((0.0, 0.9), (0.2, 0.0), (0.2, 0.7), (0.5, 0.4), (0.8, 0.3)):
        query = (1 - share) * train + share * held_out + across * torch.tensor([0, 0, 1.0])
        distances = [np.array([float((query - real).norm())]) for real in (train, held_out)]
        row = np.zeros(1, int)
        found = copies.Compared(*distances, row, row, np.array([2**0.5]), np.zeros(1)).ratio[0]
        assert found == pytest.approx((share / (1 - share)) ** 0.5, abs=1e-3)


def test_where_nobody_is_left_to_compare_with_an_image_is_no_copy() -> None:
    for train, held_out, expected in ((0.7, np.inf, 1.0), (np.inf, np.inf, 1.0), (0.0, np.inf, 0.0)):
        row = np.zeros(1, int)
        one = copies.Compared(np.array([train]), np.array([held_out]), row, row - 1, np.array([np.nan]), np.zeros(1))
        assert one.ratio[0] == expected
