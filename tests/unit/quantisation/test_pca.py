"""Principal components against scikit-learn's full decomposition, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from medistill.errors import DataError
from medistill.quantisation import pca
from medistill.quantisation.cells import quantise
from medistill.quantisation.codes import decoded, encode, errors
from medistill.quantisation.pca import PrincipalComponents, fit_pca
from medistill.quantisation.wasserstein import w2_mass

CPU = torch.device("cpu")


def unseen(_: int) -> None:
    """Nobody watches."""


def mixed(count: int, shape: tuple[int, int, int], rank: int, *, decay: float = 0.5, seed: int = 0) -> np.ndarray:
    """Uint8 (N, C, H, W): random patterns whose amplitudes fall as a power, and a little noise; never 0 or 255."""
    rng = np.random.default_rng(seed)
    values = int(np.prod(shape))
    patterns = rng.standard_normal((rank, values)) * (np.arange(1, rank + 1) ** -decay)[:, None]
    grey = rng.standard_normal((count, rank)) @ patterns + 0.1 * rng.standard_normal((count, values))
    return np.clip(np.rint(128 + 90 * grey / np.abs(grey).max()), 1, 254).astype(np.uint8).reshape(count, *shape)


def fitted(images: np.ndarray, components: int, *, batch: int = 64, seed: int = 0) -> PrincipalComponents:
    return fit_pca(images, np.arange(len(images)), components, batch=batch, seed=seed, device=CPU, tick=unseen)


def reference(images: np.ndarray, components: int) -> PCA:
    return PCA(components, svd_solver="full").fit(images.reshape(len(images), -1) / 255)


@pytest.mark.parametrize(
    ("count", "shape", "components"), [(300, (1, 20, 20), 8), (40, (3, 16, 16), 10), (500, (1, 4, 4), 16)]
)
def test_components_are_those_of_scikit_learn(count, shape, components):
    images = mixed(count, shape, 12)
    ours, theirs = fitted(images, components), reference(images, components)
    assert ours.explained == pytest.approx(theirs.explained_variance_ratio_.sum(), rel=1e-3)
    np.testing.assert_allclose(ours.mean.numpy(), theirs.mean_, atol=1e-6)
    np.testing.assert_allclose(ours.basis @ ours.basis.T, np.eye(components), atol=1e-5)
    back = ours.decode(ours.encode(torch.from_numpy(images).float() / 255)).flatten(1).numpy()
    rows = images.reshape(count, -1) / 255
    left, least = ((rows - back) ** 2).sum(), ((rows - theirs.inverse_transform(theirs.transform(rows))) ** 2).sum()
    total = ((rows - theirs.mean_) ** 2).sum()
    assert least - 1e-6 * total <= left <= least + 1e-3 * total


def test_the_leading_directions_are_those_of_scikit_learn_in_their_order_and_with_its_sign():
    images = mixed(400, (1, 24, 24), 5, decay=1.0)
    ours, theirs = fitted(images, 4).basis.numpy(), reference(images, 4).components_
    np.testing.assert_allclose(ours, theirs, atol=2e-3)  # scikit-learn too makes the largest entry positive


def test_where_no_direction_stands_out_hardly_less_variance_is_captured_than_can_be():
    images = np.random.default_rng(0).integers(0, 256, (600, 1, 24, 24)).astype(np.uint8)
    best = reference(images, 20).explained_variance_ratio_.sum()
    assert 0.97 * best <= fitted(images, 20).explained <= best * (1 + 1e-5)


def test_the_distance_of_two_codes_is_the_difference_of_a_pixel_in_grey_levels():
    images = np.zeros((3, 1, 2, 2), np.uint8)
    images[1], images[2] = 10, 40
    codes = fitted(images, 1).encode(torch.from_numpy(images).float() / 255)[:, 0]
    np.testing.assert_allclose(np.abs(np.diff(codes)), [10, 30], rtol=1e-5)


def test_it_depends_on_the_seed_alone_and_not_on_where_the_images_are(tmp_path: Path):
    images = mixed(200, (1, 16, 16), 10)
    np.save(tmp_path / "images.npy", images)
    first, again = fitted(images, 6), fitted(np.load(tmp_path / "images.npy", mmap_mode="r"), 6)
    assert torch.equal(first.basis, again.basis)
    assert torch.equal(first.mean, again.mean)
    other = fitted(images, 6, batch=7, seed=1)
    assert other.explained == pytest.approx(first.explained, rel=1e-3)


def test_only_the_rows_given_count_and_are_read_in_batches():
    images = mixed(100, (1, 8, 8), 4)
    rows, sizes = np.arange(10, 60), []
    ours = fit_pca(images, rows, 4, batch=20, seed=0, device=CPU, tick=sizes.append)
    np.testing.assert_allclose(ours.mean.numpy(), images[rows].reshape(50, -1).mean(axis=0) / 255, atol=1e-6)
    assert set(sizes) == {10, 20}
    assert sum(sizes) % 50 == 0
    assert sum(sizes) <= 50 * (pca.MOST_PASSES + 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 20), st.integers(1, 4), st.integers(2, 5), st.integers(0, 100))
def test_any_number_of_components_up_to_images_and_pixels_is_orthonormal_and_finite(count, channels, side, seed):
    images = np.random.default_rng(seed).integers(0, 256, (count, channels, side, side)).astype(np.uint8)
    components = min(count, channels * side * side)
    ours = fitted(images, components)
    np.testing.assert_allclose(ours.basis @ ours.basis.T, np.eye(components), atol=1e-4)
    assert ours.explained == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("count", "side", "most"), [(5, 8, 5), (50, 3, 9)])
def test_more_components_than_images_or_pixels_are_refused_with_the_setting(count, side, most):
    images = mixed(count, (1, side, side), 3)
    with pytest.raises(DataError, match=rf"quantise\.components = {most + 1}.*quantise\.components={most} or less"):
        fitted(images, most + 1)


def test_equal_images_are_refused():
    with pytest.raises(DataError, match="all 30 training images are equal"):
        fitted(np.full((30, 1, 4, 4), 77, np.uint8), 2)
    almost = np.full((30, 1, 4, 4), 77, np.uint8)
    almost[29, 0, 3, 3] = 78
    assert fitted(almost, 1).explained == pytest.approx(1)


def test_the_squares_of_the_errors_add_up(tmp_path: Path):
    """Pythagoras: what the encoder drops is orthogonal to the subspace in which the centroids lie."""
    images = mixed(300, (1, 16, 16), 30)
    rows = np.arange(20, 300)
    encoder = fit_pca(images, rows, 6, batch=64, seed=0, device=CPU, tick=unseen)
    codes = encode(images, rows, encoder, batch=64, path=tmp_path / "codes.npy", device=CPU, tick=unseen)
    cells = quantise(codes, rows, 7, least=2, passes=3, refine=50, batch=64, seed=0, name="Normal", tick=unseen)
    grey = decoded(encoder, cells.centres, batch=4, shape=(1, 16, 16), device=CPU)
    assert 0 < grey.min() < grey.max() < 1  # else clipping would have a part in it
    reconstruction, error = errors(images, rows, encoder, codes, grey, cells.cell, batch=64, device=CPU, tick=unseen)
    assert error**2 == pytest.approx(reconstruction**2 + w2_mass(codes, cells.centres) ** 2, rel=1e-4)
    naive = np.mean([(images[row] / 255 - grey[k]) ** 2 for row, k in zip(rows, cells.cell, strict=True)]) ** 0.5
    assert error == pytest.approx(255 * naive, rel=1e-5)
