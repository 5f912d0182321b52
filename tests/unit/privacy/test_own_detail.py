"""Own detail, poses and mixtures against plain numpy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift

from medistill.privacy import own_detail
from medistill.privacy.attacks.copies_in_grey_curves import ranked
from medistill.privacy.likeness import blurred
from medistill.privacy.mixtures import ATOMS, left_unexplained, stages
from medistill.privacy.moved import Poses, middle, moved, poses_of
from medistill.privacy.own_detail import FLOOR, OwnDetail, best_products
from medistill.privacy.reduced import reduced, sizes_of, windows

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
    expected = middle(torch.from_numpy(image), "turned")[0].numpy()
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
    expected = middle(torch.from_numpy(image[None, None]), "turned")[0]
    found = moved(torch.from_numpy(copy[None, None]), "turned")[0]
    best = int((found - expected).square().sum(dim=1).argmin())
    _, read_at = poses_of("turned")[best]
    np.testing.assert_allclose(16 * read_at, by[::-1])


@pytest.mark.parametrize(
    ("kind", "zoom", "degrees", "mirrored", "most"),
    [
        ("resized", 1.27, 0, False, 0.04),
        ("resized", 0.77, 9, False, 0.04),
        ("tilted", 1, 222, False, 0.04),
        ("tilted", 1, 32, True, 0.04),
        ("tilted", 1, 35, False, 0.08),
    ],
)
def test_other_sizes_and_angles_are_read_where_they_lie(
    kind: Poses, zoom: float, degrees: float, mirrored: bool, most: float
) -> None:
    """A picture given by a formula, so that it can be drawn in any size and at any angle without resampling."""
    angle, places = np.deg2rad(degrees), (np.arange(32) + 0.5) / 16 - 1
    y, x = np.meshgrid(places, places, indexing="ij")

    def drawn(x: np.ndarray, y: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.sin(2 * x + 1) * np.cos(3 * y - 0.5 * x)).float()[None, None]

    back_x, back_y = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    copy = drawn((-1 if mirrored else 1) * back_x / zoom, back_y / zoom)
    expected, found = middle(drawn(x, y), kind)[0], moved(copy, kind)[0]
    assert float((found - expected).abs().amax(dim=1).min()) < most


def test_reduced_images_are_averages_over_areas() -> None:
    image = RNG.random((2, 3, 8, 6)).astype(np.float32)
    fine = image.mean(axis=1).repeat(5, axis=1).repeat(4, axis=2)
    expected = fine.reshape(2, 5, 8, 4, 6).mean(axis=(2, 4)).reshape(2, -1)
    np.testing.assert_allclose(reduced(torch.from_numpy(image), (5, 4)), expected, atol=1e-6)


@pytest.mark.parametrize("side", [28, 32])
def test_a_small_copy_is_one_of_the_windows_wherever_it_lies(side: int) -> None:
    original = torch.from_numpy(smooth(1, side))
    for size in sizes_of(side, side):
        copy = torch.zeros(1, 1, side, side)
        small = reduced(original, size)
        copy[:, :, side - size[0] :, 1 : 1 + size[1]] = small.view(1, 1, *size)
        assert float((windows(copy, size)[0] - small).abs().amax(dim=1).min()) == 0
    assert len(sizes_of(side, side)) >= 14


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


def test_what_a_mixture_leaves_is_its_other_parts() -> None:
    originals = np.linalg.qr(RNG.normal(size=(40, 20)))[0].T
    image = np.array([0.7, 0.5, 0.3]) @ originals[[4, 9, 2]]
    images = torch.from_numpy(np.stack([image / np.linalg.norm(image), originals[7]])).float()
    units, mine = torch.from_numpy(originals).float(), torch.zeros(2, 20, dtype=torch.bool)
    left = stages(images, units, mine)
    expected = [[0.7, 0.5, 0.3], [0, 0.5, 0.3], [0, 0, 0.3]]
    for found, shares in zip(left[:, 0] @ units[[4, 9, 2]].T, expected, strict=True):
        np.testing.assert_allclose(found, np.array(shares) / np.linalg.norm(shares), atol=2e-3)
    assert (left[1:, 1] == 0).all()
    mine[0, 4] = True  # its own patient is not taken from an image
    np.testing.assert_allclose(stages(images, units, mine)[1, 0] @ units[9], 0, atol=1e-4)
    assert float(stages(images, units, mine)[1, 0] @ units[4]) > 0.9
