"""A corpus of smooth random images and sets made of it in known ways, for tests of the audit."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from medistill.artifacts.corpus import Corpus, ManifestRow
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.evaluate.protocol import random_rows
from medistill.recipe import Recipe, load_recipe
from tests.factories.flat_corpus import save_flat

SIZE, IPC, NAMES = 16, 5, ("Normal", "Pneumonia")
RECIPE = load_recipe(
    "demo",
    [
        f"data.image_size={SIZE}",
        "network.width=4",
        "network.depth=2",
        f"method.ipc={IPC}",
        "evaluate.raw_epochs=2",
        "schedule.choose=fixed",
    ],
)


def corpus(
    folder: Path, *, train: int = 300, held_out: int = 140, per_patient: int = 1, at_third_site: int = 0
) -> Corpus:
    """Bodies that share a shape, each with smooth random detail of its own, from two sites, or three."""
    numbers = np.random.default_rng(5)
    count = train + held_out
    detail = gaussian_filter(numbers.normal(size=(count, SIZE, SIZE)), (0, 1.5, 1.5))
    body = np.hypot(*np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE)))
    labels = np.arange(count) % 2
    images = 128 + 50 * body + 100 * detail + 15 * labels[:, None, None]
    val = held_out // 2
    return save_flat(
        folder,
        images=np.clip(images, 0, 255).astype(np.uint8)[:, None],
        labels=labels.tolist(),
        groups=[k // per_patient for k in range(count)],
        sites=[2 if k < at_third_site else int(k % 3 == 0) for k in range(count)],
        splits=[0] * train + [1] * val + [2] * (held_out - val),
        class_names=NAMES,
        site_names=["Site_A", "Site_B", "Site_C"],
        synthetic=False,
        manifest=[ManifestRow(f"doe_john_{k}.dcm", k) for k in range(count)],
    )


def starting_rows(corpus: Corpus) -> np.ndarray:
    """Rows that a run with `RECIPE` starts from."""
    return random_rows(corpus, [IPC] * len(NAMES), RECIPE.seed, -1)


def compressed(images: np.ndarray, quality: int = 75) -> np.ndarray:
    """Uint8 images (N, 1, H, W) after JPEG."""
    found = np.empty_like(images)
    for image, place in zip(images, found, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(image[0]).save(buffer, "JPEG", quality=quality)
        place[0] = np.asarray(Image.open(buffer))
    return found


def distilled(images: np.ndarray, corpus: Corpus, *, starts_from: str, recipe: Recipe = RECIPE) -> DistilledSet:
    """A set of normalised images (N, 1, H, W), class by class."""
    count = len(images)
    return DistilledSet(
        images=images.astype(np.float32),
        labels=np.repeat(np.arange(len(NAMES)), count // len(NAMES)),
        weights=np.ones(count, np.float32),
        stage=np.zeros(count, np.int64),
        student_lr=0.01,
        normalisation=normalisation(corpus),
        class_names=NAMES,
        provenance={
            "corpus": corpus.content,
            "recipe": recipe.model_dump(mode="json"),
            "starts_from": starts_from,
            "privacy": "No formal privacy guarantee was sought in this mode.",
        },
    )


def normalisation(corpus: Corpus) -> Normalisation:
    """Of the training split."""
    return Normalisation.of(np.asarray(corpus.images[corpus.rows("train")]))


def from_noise(corpus: Corpus) -> DistilledSet:
    """A set that knows nothing of the corpus: smooth noise of its own."""
    numbers = np.random.default_rng(77)
    images = gaussian_filter(numbers.normal(size=(IPC * len(NAMES), 1, SIZE, SIZE)), (0, 0, 1, 1)) * 3
    return distilled(images, corpus, starts_from="noise")
