"""A corpus and a distilled set drawn in memory: enough for tests that need neither files nor experts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from tests.factories.flat_corpus import save_flat

CLASSES = ("COVID", "Normal", "Pneumonia")


def drawn_corpus(folder: Path, *, size: int = 16, each: int = 24, seed: int = 0) -> Corpus:
    """Noisy images of two patterns (even rows are brighter above), as many of each class; half are for training."""
    numbers, count = np.random.default_rng(seed), each * len(CLASSES)
    images = np.full((count, 1, size, size), 60, np.int64)
    images[::2, :, : size // 2] += 120
    images += numbers.integers(-9, 10, images.shape)
    labels = np.arange(count) // 2 % len(CLASSES)
    images += 20 * labels[:, None, None, None]
    return save_flat(
        folder,
        images=images.astype(np.uint8),
        labels=labels,
        groups=range(count),
        sites=np.arange(count) % 2,
        splits=np.repeat([0, 0, 1, 2], count // 4),
        views=["PA"] * count,
        class_names=CLASSES,
        site_names=("east", "west"),
    )


def drawn_set(corpus: Corpus, *, soft: bool = False, ipc: int = 2) -> DistilledSet:
    """Noise in place of distilled images, with soft labels that lean to another class where they are wanted."""
    numbers, classes = np.random.default_rng(1), len(corpus.class_names)
    labels = np.repeat(np.arange(classes), ipc)
    leaning = np.full((len(labels), classes), 0.2, np.float32)
    leaning[np.arange(len(labels)), (labels + 1) % classes] = 1 - 0.2 * (classes - 1)
    return DistilledSet(
        images=numbers.normal(size=(len(labels), *corpus.images.shape[1:])).astype(np.float32),
        labels=labels,
        weights=np.ones(len(labels), np.float32),
        stage=np.zeros(len(labels), np.int64),
        student_lr=0.02,
        normalisation=Normalisation.of(corpus.images[corpus.rows("train")]),
        class_names=corpus.class_names,
        soft_labels=leaning if soft else None,
    )
