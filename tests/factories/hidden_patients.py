"""Images that hold a patient outright, in ways in which somebody might hide one, and images that hold nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter, shift
from sklearn.cluster import KMeans

from medistill.artifacts.corpus import Corpus
from medistill.data.phantom_drawing import Exposure, Habitus, draw_phantom


@dataclass(frozen=True)
class Material:
    """What an image is made of; grey values in units of full scale.

    Attributes:
        patients: (4, C, H, W) of four training patients of the class.
        strangers: (N, C, H, W), up to 20 held-out patients.
        many: (N, C, H, W) of all training images of the class, in random order.
        mean: (C, H, W) of all training images of the class.
        rng: of this image.
    """

    patients: np.ndarray
    strangers: np.ndarray
    many: np.ndarray
    mean: np.ndarray
    rng: np.random.Generator

    @property
    def one(self) -> np.ndarray:
        """(C, H, W), the first of the patients."""
        image: np.ndarray = self.patients[0]
        return image


Make = Callable[[Material], np.ndarray]


def _where(material: Material, parts: np.ndarray) -> np.ndarray:
    """Of each pixel the patient whose number stands there, (H, W)."""
    return np.take_along_axis(material.patients, parts[None, None].repeat(material.one.shape[0], 1), axis=0)[0]


def _squares(material: Material, side: int) -> np.ndarray:
    """Number of the square of ``side`` pixels in which each pixel lies, by row and column, (2, H, W)."""
    return np.indices(material.one.shape[1:]) // side


def _resampled(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(C, H, W) seen through a matrix (2, 2) about the middle."""
    middle = (np.array(image.shape[1:]) - 1) / 2
    offset = middle - matrix @ middle
    return np.stack([affine_transform(one, matrix, offset, order=1, mode="nearest") for one in image])


def _turned(image: np.ndarray, degrees: float, zoom: float = 1.0) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return _resampled(image, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom)


def _smooth(image: np.ndarray, pixels: float) -> np.ndarray:
    return np.asarray(gaussian_filter(image, (0, pixels, pixels)))


def _in_corner(material: Material) -> np.ndarray:
    image, small = material.mean.copy(), material.one[:, ::2, ::2] / 2 + material.one[:, 1::2, 1::2] / 2
    image[:, : small.shape[1], : small.shape[2]] = small
    return image


def _compressed(material: Material) -> np.ndarray:
    found = np.empty_like(material.one)
    for channel, place in zip(material.one, found, strict=True):
        buffer = BytesIO()
        Image.fromarray(np.rint(channel * 255).astype(np.uint8)).save(buffer, "JPEG", quality=50)
        place[:] = np.asarray(Image.open(buffer)) / 255
    return found


def _permuted(material: Material) -> np.ndarray:
    order = np.random.default_rng(11).permutation(material.one[0].size)
    return material.one.reshape(len(material.one), -1)[:, order].reshape(material.one.shape)


def _mixed(material: Material) -> np.ndarray:
    pattern = np.random.default_rng(12).integers(0, 256, material.one.shape)
    return (np.rint(material.one * 255).astype(int) ^ pattern) / 255


def _in_low_bits(material: Material) -> np.ndarray:
    upper, lower = np.rint(material.mean * 255).astype(int) & ~7, np.rint(material.one * 255).astype(int) >> 5
    return (upper | lower) / 255


def _invented(material: Material) -> np.ndarray:
    return invented(material.mean.shape, material.rng)


def invented(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Somebody who is in no corpus, drawn as the phantoms are, (C, H, W)."""
    channels, height, width = shape
    habitus, exposure = Habitus.draw(rng, sex="F" if rng.random() < 0.5 else "M"), Exposure.draw(rng, supine=False)
    large = draw_phantom(habitus, exposure, "Normal", 0.5, 2 * max(height, width), rng, rng)
    small = large.reshape(max(height, width), 2, -1, 2).mean(axis=(1, 3))[:height, :width]
    return np.repeat(small[None], channels, axis=0)


def _centre(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mean of one cluster of about 20 images; of those with 10 or more, one at random."""
    means = KMeans(max(2, len(images) // 20), n_init=1, max_iter=10, random_state=int(rng.integers(2**31)))
    found = means.fit_predict(images.reshape(len(images), -1))
    roomy = np.flatnonzero(np.bincount(found) >= 10)
    return np.asarray(images[found == rng.choice(roomy)].mean(axis=0))


HIDDEN: dict[str, Make] = {
    "as it is": lambda m: m.one,
    "JPEG, quality 50": _compressed,
    "noise of a tenth": lambda m: m.one + m.rng.normal(0, 0.1, m.one.shape),
    "noise of a quarter": lambda m: m.one + m.rng.normal(0, 0.25, m.one.shape),
    "darker": lambda m: m.one * 0.5 + 0.05,
    "faint": lambda m: m.one * 0.1 + 0.45,
    "inverted": lambda m: 1 - m.one,
    "gamma 3": lambda m: m.one**3,
    "gamma a third": lambda m: m.one ** (1 / 3),
    "four grey levels": lambda m: np.rint(m.one * 3) / 3,
    "blurred": lambda m: _smooth(m.one, 2),
    "sharpened": lambda m: m.one + 2 * (m.one - _smooth(m.one, 1)),
    "high frequencies on the class mean": lambda m: m.mean + m.one - _smooth(m.one, 1.5),
    "mirrored": lambda m: m.one[:, :, ::-1],
    "upside down": lambda m: m.one[:, ::-1],
    "rotated by 90": lambda m: np.rot90(m.one, 1, (1, 2)),
    "rotated by 180": lambda m: np.rot90(m.one, 2, (1, 2)),
    "transposed": lambda m: m.one.transpose(0, 2, 1),
    "rotated by 8": lambda m: _turned(m.one, 8),
    "shifted by 1": lambda m: np.roll(m.one, 1, axis=2),
    "shifted by 3": lambda m: shift(m.one, (0, 3, -3), order=0, mode="nearest"),
    "zoomed by 1.3": lambda m: _turned(m.one, 0, 1.3),
    "small in the corner": _in_corner,
    "mean of two": lambda m: m.patients[:2].mean(axis=0),
    "mixture of three": lambda m: np.tensordot([0.4, 0.35, 0.25], m.patients[:3], axes=1),
    "class mean and 40 % of a patient": lambda m: 0.6 * m.mean + 0.4 * m.one,
    "halves of two": lambda m: _where(m, _squares(m, m.one.shape[2] // 2)[1]),
    "thirds of three": lambda m: _where(m, np.minimum(_squares(m, m.one.shape[2] // 3)[0], 2)),
    "quadrants of four": lambda m: _where(
        m, 2 * _squares(m, m.one.shape[2] // 2)[0] + _squares(m, m.one.shape[2] // 2)[1]
    ),
    "checkerboard of two": lambda m: _where(m, _squares(m, 4).sum(axis=0) % 2),
    "pixels permuted": _permuted,
    "XOR with a pattern": _mixed,
    "low three bits of the class mean": _in_low_bits,
}
"""How a patient is hidden -> an image (C, H, W)."""
NOT_IN_PIXELS = ("pixels permuted", "XOR with a pattern", "low three bits of the class mean")
"""Those of `HIDDEN` that no search of pixels is expected to find: the making of the set speaks of them."""
NOBODY: dict[str, Make] = {
    "noise": lambda m: m.rng.normal(0.5, 0.25, m.mean.shape),
    "smooth noise": lambda m: 0.5 + _smooth(m.rng.normal(0, 1, m.mean.shape), 2),
    "very smooth noise": lambda m: 0.5 + _smooth(m.rng.normal(0, 2, m.mean.shape), 4),
    "strangers": lambda m: m.strangers[0],
    "strangers under noise": lambda m: m.strangers[0] + m.rng.normal(0, 0.1, m.mean.shape),
    "mixtures of strangers": lambda m: m.strangers[:3].mean(axis=0),
    "means of 20 strangers": lambda m: m.strangers.mean(axis=0),
    "invented people": lambda m: _invented(m),
    "invented people, blurred": lambda m: _smooth(_invented(m), 1.5),
    "mixtures of invented people": lambda m: (_invented(m) + _invented(m) + _invented(m)) / 3,
}
"""Likewise what no training patient has any part in: what a search finds there, it finds by chance."""
OF_TRAINING: dict[str, Make] = {
    "class mean": lambda m: m.mean,
    "class mean under noise": lambda m: m.mean + m.rng.normal(0, 0.1, m.mean.shape),
    "class mean under smooth noise": lambda m: m.mean + _smooth(m.rng.normal(0, 0.4, m.mean.shape), 1.5),
    "means of 10": lambda m: m.many[:10].mean(axis=0),
    "means of 20": lambda m: m.many[:20].mean(axis=0),
    "means of 20 under noise": lambda m: m.many[:20].mean(axis=0) + m.rng.normal(0, 0.05, m.mean.shape),
    "means of half of a class": lambda m: m.many[: len(m.many) // 2].mean(axis=0),
    "k-means means": lambda m: _centre(m.many, m.rng),
}
"""Likewise what holds a little of many training patients and no one of them outright."""
HARMLESS = NOBODY | OF_TRAINING


def nobody_of(
    shape: tuple[int, ...], count: int, rng: np.random.Generator, others: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Kind -> images (count, C, H, W) that know of no corpus; of ``others`` (3 count, C, H, W), three kinds more."""
    invented_people = np.stack([invented(shape, rng) for _ in range(3 * count)])
    found = {
        "noise": rng.normal(0.5, 0.25, (count, *shape)),
        "smooth noise": 0.5 + _blurred(rng.normal(0, 1, (count, *shape)), 2),
        "very smooth noise": 0.5 + _blurred(rng.normal(0, 2, (count, *shape)), 4),
    }
    for name, people in {"invented people": invented_people, "other people": others}.items():
        if people is not None:
            found[name] = people[:count]
            found[f"{name}, blurred"] = _blurred(people[count : 2 * count], 1.5)
            found[f"{name}, mixtures of three"] = people.reshape(3, count, *shape).mean(axis=0)
    return found


def _blurred(images: np.ndarray, pixels: float) -> np.ndarray:
    return np.asarray(gaussian_filter(images, (0, 0, pixels, pixels)))


def hidden_set(kind: str, corpus: Corpus, each: int, draw: int) -> np.ndarray:
    """``each`` images a class that hold patients in this way, (N, C, H, W)."""
    return _set(HIDDEN[kind], corpus, each, draw)


def harmless_set(kind: str, corpus: Corpus, each: int, draw: int) -> np.ndarray:
    """``each`` images a class that hold no one of the training patients outright."""
    return _set(HARMLESS[kind], corpus, each, draw)


def _set(make: Make, corpus: Corpus, each: int, draw: int) -> np.ndarray:
    rng = np.random.default_rng([draw, 5])
    classes = range(len(corpus.class_names))
    return np.clip([make(_material(corpus, label, rng)) for label in classes for _ in range(each)], -0.5, 1.5)


def _material(corpus: Corpus, label: int, rng: np.random.Generator) -> Material:
    train = corpus.rows("train")
    held_out = np.flatnonzero((corpus.splits > 0) & (corpus.labels == label))
    rows = train[corpus.labels[train] == label]
    many = rng.permutation(rows)
    others = rng.permutation(held_out)

    def grey(some: np.ndarray) -> np.ndarray:
        return np.asarray(corpus.images[some]) / 255

    of_four, of_strangers = _of_each(corpus, many)[:4], _of_each(corpus, others)[:20]
    return Material(grey(of_four), grey(of_strangers), grey(many), grey(rows).mean(axis=0), rng)


def _of_each(corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    """The first of the images of each patient."""
    _, first = np.unique(corpus.groups[rows], return_index=True)
    return rows[np.sort(first)]
