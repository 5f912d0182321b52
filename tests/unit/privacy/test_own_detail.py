"""Own detail, poses, mixtures and the exchange of labels against plain numpy, SciPy and every split there is."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift

from medistill.privacy import exchange, own_detail
from medistill.privacy.attacks.copies_in_blur import blurred
from medistill.privacy.attacks.copies_in_grey_curves import ranked
from medistill.privacy.mixtures import ATOMS, left_unexplained
from medistill.privacy.moved import middle, moved, poses_of
from medistill.privacy.own_detail import FLOOR, OwnDetail, best_products

RNG = np.random.default_rng(0)


def smooth(count: int, side: int = 32) -> np.ndarray:
    """(N, 1, side, side)."""
    return gaussian_filter(np.random.default_rng(3).normal(size=(count, 1, side, side)), (0, 0, 1.5, 1.5)).astype(
        np.float32
    )


@pytest.mark.parametrize("largest_block", [2**23, 100])
def test_own_detail_is_the_matched_filter(largest_block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_detail, "LARGEST_BLOCK", largest_block)
    originals = RNG.normal(size=(60, 12)) @ RNG.normal(size=(12, 12)) + 5 * RNG.normal(size=12)
    queries = RNG.normal(size=(4, 12))
    common = originals.mean(axis=0)
    basis = np.stack([np.ones(12), common], axis=1)
    apart = [rows - (basis @ np.linalg.lstsq(basis, rows.T, rcond=None)[0]).T for rows in (originals, queries)]
    covariance = apart[0].T @ apart[0] / 60
    inverse = np.linalg.inv(covariance + FLOOR * np.trace(covariance) / 12 * np.eye(12))
    inner = apart[1] @ inverse @ apart[0].T
    lengths = [np.sqrt(np.einsum("nd,de,ne->n", one, inverse, one)) for one in apart]
    expected = inner / lengths[1][:, None] / lengths[0]
    space = OwnDetail(torch.from_numpy(originals).float())
    found = best_products(lambda some: some[:, None], torch.from_numpy(queries).float(), space)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    either = best_products(lambda some: some[:, None], torch.from_numpy(queries).float(), space, either_sign=True)
    np.testing.assert_allclose(either, np.abs(expected), atol=2e-3)


def test_what_has_nothing_of_its_own_is_like_nobody() -> None:
    originals = torch.from_numpy(RNG.normal(size=(30, 9)) + np.arange(9)).float()
    space = OwnDetail(originals)
    flat = torch.stack([torch.full((9,), 0.3), 2 * originals.mean(dim=0) + 1])
    assert (space(flat) == 0).all()


def test_turned_poses_undo_every_symmetry_and_shift_exactly() -> None:
    image = smooth(1)
    expected = middle(torch.from_numpy(image))[0].numpy()
    for transpose in (False, True):
        for flips in ((), (2,), (3,), (2, 3)):
            turned = np.flip(image.transpose(0, 1, 3, 2) if transpose else image, flips).copy()
            for by in ((0, 0), (3, -2), (-4, 4)):
                copy = shift(turned[0, 0], by, order=0, mode="nearest")[None, None]
                found = moved(torch.from_numpy(copy), "turned")[0].numpy()
                assert np.abs(found - expected).max(axis=1).min() < 1e-5, (transpose, flips, by)


def test_the_shift_that_is_found_is_that_of_phase_correlation() -> None:
    image = smooth(1)[0, 0]
    copy = np.roll(image, (2, -3), (0, 1))
    spectrum = np.fft.fft2(copy) * np.conj(np.fft.fft2(image))
    peak = np.unravel_index(np.fft.ifft2(spectrum / np.abs(spectrum)).real.argmax(), image.shape)
    by = [int(p) if p < 16 else int(p) - 32 for p in peak]
    expected = middle(torch.from_numpy(image[None, None]))[0]
    found = moved(torch.from_numpy(copy[None, None]), "turned")[0]
    best = int((found - expected).square().sum(dim=1).argmin())
    _, read_at = poses_of("turned")[best]
    np.testing.assert_allclose(16 * read_at, by[::-1])


@pytest.mark.parametrize(("kind", "zoom"), [("resized", 1.27), ("small", 0.5)])
def test_other_sizes_are_read_where_they_lie(kind: str, zoom: float) -> None:
    """A picture given by a formula, so that any size of it can be drawn without resampling."""

    def drawn(zoom: float, at: float) -> torch.Tensor:
        places = ((torch.arange(32) + 0.5) / 16 - 1 - at) / zoom
        y, x = torch.meshgrid(places, places, indexing="ij")
        return (torch.sin(2 * x + 1) * torch.cos(3 * y - 0.5 * x))[None, None]

    at = 0.0 if kind == "resized" else zoom - 1
    expected = middle(drawn(1, 0))[0]
    found = moved(drawn(zoom, at), kind)[0]  # type: ignore[arg-type]
    assert float((found - expected).abs().amax(dim=1).min()) < 0.04


def test_a_blur_is_scipy_s_and_ranks_do_not_depend_on_the_curve() -> None:
    images = smooth(3)
    found = blurred(torch.from_numpy(images), 1 / 16).numpy()
    expected = gaussian_filter(images, (0, 0, 2, 2), truncate=3, mode="mirror")
    np.testing.assert_allclose(found, expected, atol=1e-4)
    exact = torch.from_numpy(images).double()
    np.testing.assert_array_equal(ranked(exact), ranked(exact**3))
    np.testing.assert_allclose(ranked(exact), 1 - ranked(-exact), atol=1e-6)


def test_a_mixture_is_explained_and_its_greedy_choice_is_that_of_a_loop() -> None:
    originals = np.linalg.qr(RNG.normal(size=(40, 20)))[0].T + 0.05 * RNG.normal(size=(20, 40))
    originals /= np.linalg.norm(originals, axis=1, keepdims=True)
    images = np.stack([[0.5, 0.3, 0.2] @ originals[[4, 9, 2]], RNG.normal(size=40)])
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    left, first = left_unexplained(torch.from_numpy(images).float(), torch.from_numpy(originals).float())
    for row, image in enumerate(images):
        chosen: list[int] = []
        rest = image
        for _ in range(ATOMS):
            chosen.append(int((originals @ rest).argmax()))
            shares = np.linalg.lstsq(originals[chosen].T, image, rcond=None)[0]
            rest = image - shares @ originals[chosen]
        assert left[row] == pytest.approx(np.linalg.norm(rest), abs=2e-3)
        assert first[row] == chosen[0]
    assert left[0] < 0.02
    forbidden = torch.zeros(2, 20, dtype=torch.bool)
    forbidden[0, 4] = True
    assert (
        left_unexplained(torch.from_numpy(images).float(), torch.from_numpy(originals).float(), forbidden)[0][0] > 0.5
    )


def test_the_evidence_is_what_its_equation_says() -> None:
    held_out, train = RNG.uniform(-0.5, 0.5, (3, 50)), RNG.uniform(-0.5, 0.9, (3, 80))
    for row, found in enumerate(exchange.evidence(train, held_out)):
        z = np.sort(np.arctanh(held_out[row]))[::-1]
        excess = np.mean(z[:10] - z[10])
        assert found == pytest.approx((np.arctanh(train[row].max()) - z[10]) / excess - np.log(80 * 10 / 50))


def test_exchanges_are_drawn_from_every_split_there_is() -> None:
    """Of 12 people there are 924 halves; the drawn ones give the same distribution."""
    held_out = np.random.default_rng(4).uniform(-0.6, 0.6, (2, 3, 12))
    flat = held_out.reshape(6, 12)
    every = []
    for side in combinations(range(12), 6):
        other = [k for k in range(12) if k not in side]
        told = exchange.evidence(flat[:, list(side)], flat[:, other]).reshape(2, 3)
        every.append([exchange.reached(way) for way in told])
    drawn = exchange.exchanged(held_out, np.random.default_rng(0))
    assert len(drawn) == exchange.DRAWS
    for share in (0.5, 0.8, 0.9):
        low, high = (np.quantile(every, q, axis=0) for q in (share - 0.08, share + 0.08))
        found = np.quantile(drawn, share, axis=0)
        assert ((low <= found) & (found <= high)).all()


def test_where_nobody_is_held_few_sets_pass_the_threshold() -> None:
    """Twelve in a hundred are allowed here; of 100 sets of 10 images, all strangers to all, few more pass."""
    level, passed = 0.12, 0
    for draw in range(100):
        rng = np.random.default_rng([draw, 9])
        quality = rng.normal(size=(10, 1))  # images differ in how like people they are
        train, held_out = (np.tanh(0.3 * quality + 0.2 * rng.normal(size=(2, 10, n))) for n in (150, 100))
        asked = exchange.thresholds(exchange.exchanged(held_out, rng), level)
        found = np.stack([exchange.evidence(*both) for both in zip(train, held_out, strict=True)])
        passed += bool(exchange.beyond_chance(found, asked).any())
    assert passed <= 21  # 99.9 % of binomial draws at the level


def test_an_image_counts_from_the_least_threshold_that_the_images_reach() -> None:
    asked = np.array([[9.0, 5.0, 2.0], [9.0, 5.0, 2.0]])
    told = np.array([[6.0, 6.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [3.0, 3.0, 3.0, 3.0, 2.5, 1.0, 1.0, 1.0]])
    expected = [[True, True, *[False] * 6], [*[True] * 5, *[False] * 3]]
    np.testing.assert_array_equal(exchange.beyond_chance(told, asked), expected)
    np.testing.assert_array_equal(exchange.beyond_chance(told[:, 5:], asked), np.zeros((2, 3), bool))


def test_ways_are_measured_by_what_they_usually_reach_and_share_the_rate() -> None:
    by_chance = np.random.default_rng(6).exponential(size=(399, 2, 3)) * np.array([1.0, 10.0])[:, None]
    asked = exchange.thresholds(by_chance, 0.15)
    assert asked[1] == pytest.approx(10 * asked[0], rel=0.35)
    assert ((by_chance >= asked).any(axis=1).mean(axis=0) <= 0.05).all()
    assert ((by_chance >= asked).any(axis=1).mean(axis=0) >= 0.04).all()


def test_too_few_draws_show_nothing() -> None:
    assert (exchange.thresholds(np.zeros((10, 1, 3)), 0.01) == float("inf")).all()
