"""Choice and pasting of patches, against loops; k-means against groups that are known."""

from __future__ import annotations

import numpy as np
import pytest

from medistill.selection.patch_choice import FITTED, choose_patches, paste, patch_features

RNG = np.random.default_rng(4)


def grouped(groups: int, each: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patches in groups that are far apart, in the order of their scores, with these and the group of each."""
    group = RNG.permutation(np.repeat(np.arange(groups), each))
    centres = RNG.integers(0, 256, (groups, 2, 4, 4))
    patches = np.clip(centres[group] + RNG.integers(-3, 4, (len(group), 2, 4, 4)), 0, 255).astype(np.uint8)
    return patches, np.sort(RNG.normal(size=len(group)))[::-1], group


@pytest.mark.parametrize("seed", [0, 2**40 + 1])
def test_the_best_of_each_group_is_taken_the_highest_first(seed: int) -> None:
    patches, scores, group = grouped(6, 11)
    taken = choose_patches(patches, scores, 6, seed)
    best = {}
    for k in range(len(group)):
        if group[k] not in best or scores[k] > scores[best[group[k]]]:
            best[group[k]] = k
    assert taken.tolist() == sorted(best.values(), key=lambda k: -scores[k])


def test_alike_patches_are_filled_up_by_score_and_all_are_taken_where_there_are_no_more() -> None:
    patches, scores = np.zeros((8, 1, 2, 2), np.uint8), np.linspace(1, 0, 8)
    patches[5] = 200
    assert choose_patches(patches, scores, 4, 0).tolist() == [0, 1, 2, 5]
    assert choose_patches(patches, scores, 8, 0).tolist() == list(range(8))


def test_features_keep_the_distances_of_few_dimensions() -> None:
    weights = RNG.normal(size=(40, 3))
    flat = weights @ RNG.normal(size=(3, 32))
    patches = np.round(127 + 25 * flat).clip(0, 255).astype(np.uint8).reshape(40, 2, 4, 4)
    features, pixels = patch_features(patches), patches.reshape(40, -1) / 255
    for a, b in ((0, 1), (5, 30), (12, 39)):
        apart = np.linalg.norm(pixels[a] - pixels[b])
        assert np.linalg.norm(features[a] - features[b]) == pytest.approx(apart, rel=1e-3)


def test_more_patches_than_are_fitted_at_once_all_get_features() -> None:
    patches = RNG.integers(0, 256, (2 * FITTED + 5, 1, 2, 2), np.uint8)
    features = patch_features(patches)
    assert features.shape == (len(patches), 4)
    again = patch_features(patches)
    assert features.tobytes() == again.tobytes()


@pytest.mark.parametrize("along", [1, 2, 3])
def test_patches_are_pasted_row_by_row(along: int) -> None:
    patches = RNG.integers(0, 256, (2 * along**2, 3, 4, 5), np.uint8)
    images = paste(patches, along)
    assert images.shape == (2, 3, 4 * along, 5 * along)
    for n in range(2):
        for i in range(along):
            for j in range(along):
                part = images[n, :, 4 * i : 4 * (i + 1), 5 * j : 5 * (j + 1)]
                np.testing.assert_array_equal(part, patches[n * along**2 + i * along + j])
