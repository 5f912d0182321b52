"""A corpus whose classes differ in one quarter of each image alone, and where that quarter is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import Corpus
from tests.factories.flat_corpus import save_flat


def planted_corpus(folder: Path, *, each: int = 60, size: int = 16) -> tuple[Corpus, np.ndarray]:
    """Two classes on the same kind of noise, a patient an image; a half of each class is for training.

    Returns:
        The corpus, and (N, 2) the first line and column of the quarter of each image that shows its class: lines that
        lie in one, and stand in the other.
    """
    rng, half, count = np.random.default_rng(3), size // 2, 2 * each
    images = rng.integers(117, 137, (count, 1, size, size))
    labels, places = np.arange(count) % 2, half * rng.integers(0, 2, (count, 2))
    lines = np.where(np.arange(half) % 4 < 2, 77, 177) - 127
    for image, label, (top, left) in zip(images, labels, places, strict=True):
        image[0, top : top + half, left : left + half] += lines[:, None] if label else lines[None, :]
    corpus = save_flat(
        folder,
        images=images.astype(np.uint8),
        labels=labels,
        groups=range(count),
        splits=np.repeat([0, 1, 2], [count // 2, count // 4, count - count // 2 - count // 4]),
        class_names=("lying", "standing"),
        site_names=("here",),
    )
    return corpus, places
