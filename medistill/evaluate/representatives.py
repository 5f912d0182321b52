"""Representatives: real training images chosen by k-means, the coreset that a distilled set has to beat."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.scratch import scratch
from medistill.errors import DataError

SetState = Literal["to be made", "made"]
COMPONENTS = 50
"""Principal components of the pixels that images are compared by."""
FITTED = 2_000
"""Most images of a class that the components are fitted on, and that are in memory as floats at once."""


def rows_by_class(
    corpus: Corpus, per_class: Sequence[int] | np.ndarray, *, beside: SetState = "made", each: int = 1
) -> list[np.ndarray]:
    """Training rows of each class, of which ``per_class[c]`` are to be taken.

    Args:
        beside: whether the set for which they are wanted is made: only of one that is not, another size can be asked.
        each: how many an image of it takes, its tiles.

    Raises:
        DataError: a class has fewer.
    """
    train = corpus.rows("train")
    found = [train[corpus.labels[train] == c] for c in range(len(per_class))]
    for name, rows, wanted in zip(corpus.class_names, found, per_class, strict=True):
        if len(rows) < wanted:
            smallest = min(len(there) for there, asked in zip(found, per_class, strict=True) if asked)
            do = f"add images of class {name}, or leave the arms 'random' and 'kmeans' out (evaluate.arms)"
            if beside == "to be made":
                do = f"take --ipc {smallest // each} or less" if smallest >= each else "lower method.tiles"
                do += ", add images of that class, or let images that are optimised begin as noise "
                do += "(--set method.init=noise)"
                do = do if smallest else f"add images of class {name}, or leave it out with --classes"
            what = "images per class" if each == 1 else "tiles of the images per class"
            raise DataError(
                f"class {name} has {len(rows)} training images, fewer than {wanted} {what}",
                expected="at least as many training images in every class as images per class, or one where images "
                "begin as noise",
                do=do,
            )
    return found


def available(corpus: Corpus, per_class: Sequence[int] | np.ndarray) -> np.ndarray:
    """How many training images of each class can be taken: ``per_class[c]``, or all where there are fewer."""
    found = np.bincount(corpus.labels[corpus.rows("train")], minlength=len(per_class))
    return np.minimum(np.asarray(per_class), found)


@dataclass(frozen=True)
class Representatives:
    """Real training images by what k-means sees of them.

    Attributes:
        rows: training rows of each class.
        features: (n, D) of each class: normalised pixels in at most `COMPONENTS` principal components of the class;
            never whitened ones, in which every direction would count alike.
        per_class: how many images to take of each class.
    """

    rows: tuple[np.ndarray, ...]
    features: tuple[np.ndarray, ...]
    per_class: tuple[int, ...]

    @classmethod
    def of(cls, corpus: Corpus, per_class: Sequence[int] | np.ndarray, normalisation: Normalisation) -> Representatives:
        """Reduce the training images of every class.

        Raises:
            DataError: a class has fewer images than are to be taken.
        """
        rows, plain = rows_by_class(corpus, per_class), replace(normalisation, whitening=None)
        counts = tuple(int(count) for count in per_class)
        return cls(tuple(rows), tuple(class_features(corpus, some, plain) for some in rows), counts)

    def draw(self, seed: int) -> np.ndarray:
        """Rows, class by class, each nearest to a centre of k-means that started from ``seed``."""
        chosen = [
            rows[nearest_to_centres(features, count, (seed + c) % 2**32)]
            for c, (rows, features, count) in enumerate(zip(self.rows, self.features, self.per_class, strict=True))
        ]
        return np.concatenate(chosen)


def nearest_to_centres(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices (count,) of the points (n, D) nearest to the centres of k-means, all distinct.

    A centre whose nearest point is taken already takes the next nearest. It runs on one thread, so that sums, and with
    them the choice, do not depend on how many there are.
    """
    if count in (0, len(features)):
        return np.arange(count)
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import pairwise_distances
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal images: fewer clusters than centres
        centres = KMeans(count, n_init=1, random_state=seed).fit(features).cluster_centers_
        distances = pairwise_distances(centres, features)
    chosen: list[int] = []
    for of_centre in distances:
        of_centre[chosen] = np.inf
        chosen.append(int(of_centre.argmin()))
    return np.array(chosen)


def class_features(corpus: Corpus, rows: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    """Float32 (n, at most `COMPONENTS`); the components are fitted on at most `FITTED` images, evenly spaced."""
    if len(rows) < 2:
        return np.zeros((len(rows), 1), np.float32)
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    def pixels(some: np.ndarray) -> np.ndarray:
        return normalisation.apply(corpus.images[some]).reshape(len(some), -1)

    fitted = rows[np.linspace(0, len(rows) - 1, min(FITTED, len(rows)), dtype=np.int64)]
    components = min(COMPONENTS, len(fitted), corpus.images[0].size)
    with threadpool_limits(1), np.errstate(all="ignore"):  # equal images have no variance to divide by
        reduction = PCA(components, random_state=0).fit(pixels(fitted))
        features = scratch((len(rows), components), np.float32)
        for start in range(0, len(rows), FITTED):
            features[start : start + FITTED] = reduction.transform(pixels(rows[start : start + FITTED]))
    return features
