"""Patch choice: of high-scoring patches those that differ, by k-means, ranked by score, and pasted into images."""

from __future__ import annotations

import warnings

import numpy as np

COMPONENTS = 50
"""Principal components of the grey values that patches are compared by."""
FITTED = 2_000
"""Most patches that the components are fitted on, and that are in memory as floats at once."""


def choose_patches(patches: np.ndarray, scores: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return which patches to take, int64 (count,), that of the highest score first.

    Of each cell of k-means the one of the highest score is taken. Where patches are alike and give fewer cells, those
    of the highest scores of the others follow. It runs on one thread, so that the choice does not depend on how many
    there are.

    Args:
        patches: uint8 (M, C, h, w), that of the highest score first.
        scores: (M,), descending.
        count: how many, M at most.
        seed: from which k-means starts.
    """
    if count == len(patches):
        return np.arange(count)
    first = np.unique(_cells(patch_features(patches), count, seed), return_index=True)[1]
    others = np.setdiff1d(np.arange(len(patches)), first)
    taken = np.concatenate([first, others[: count - len(first)]])
    return taken[np.lexsort((taken, -scores[taken]))]


def patch_features(patches: np.ndarray) -> np.ndarray:
    """Float32 (M, at most `COMPONENTS`) of patches uint8 (M, C, h, w): their principal components, which are fitted on
    at most `FITTED` of them, evenly spaced."""
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    def grey(some: np.ndarray) -> np.ndarray:
        return some.reshape(len(some), -1).astype(np.float32) / np.float32(255)

    fitted = patches[np.linspace(0, len(patches) - 1, min(FITTED, len(patches)), dtype=np.int64)]
    components = min(COMPONENTS, len(fitted), patches[0].size)
    with threadpool_limits(1), np.errstate(all="ignore"):  # equal patches have no variance to divide by
        reduction = PCA(components, random_state=0).fit(grey(fitted))
        pieces = [reduction.transform(grey(patches[at : at + FITTED])) for at in range(0, len(patches), FITTED)]
    features: np.ndarray = np.concatenate(pieces).astype(np.float32)
    return features


def paste(patches: np.ndarray, along: int) -> np.ndarray:
    """Paste patches (N f^2, C, h, w) into images (N, C, f h, f w): row by row from the upper left, f along a side."""
    count, (channels, height, width) = len(patches) // along**2, patches.shape[1:]
    parts = patches.reshape(count, along, along, channels, height, width).transpose(0, 3, 1, 4, 2, 5)
    return np.ascontiguousarray(parts.reshape(count, channels, along * height, along * width))


def _cells(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal patches: fewer cells than asked for
        cells: np.ndarray = KMeans(count, n_init=4, random_state=seed % 2**32).fit(features).labels_
    return cells
