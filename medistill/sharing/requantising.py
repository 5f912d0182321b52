"""Re-quantising: the united centroids of several sets as fewer, by their masses, class by class.

An image x_i of a set that optimal quantisation made is the mean of patients' images, and its weight w_i their share.
The measures of several sets add, sum_i w_i delta(x_i), and k-means of it, in which each image counts by its weight, is
the optimal quantisation of the sum (Pagès and Yu 2013, arXiv:1401.0192):

    m_k = sum_{i in k} w_i,    y_k = sum_{i in k} w_i x_i / m_k

So within one set a mean of means by masses is the mean of the patients behind them; sets count alike, however many
patients stand behind each. It holds where an image is linear in its code.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import DataError

STARTS = 10
"""Times that k-means begins anew; the best is kept."""
SEED = 0
"""Of where it begins."""
KINDS = {
    "autoencoder": "decoded by an autoencoder of each hospital's own, so that a mean of images is the image of no mean",
    "brought": "decoded by an autoencoder, so that a mean of images is the image of no mean of codes",
    "features": "rendered from an encoder's features: the sets carry images and masses and not the centroids, which an "
    "image shows only roughly, so that a mean of what images show is no mean of patients",
    "": "in a space that the sets do not all state alike",
}
"""Why images of a space cannot be united by their masses."""


def requantised(united: DistilledSet, ipc: int) -> DistilledSet:
    """Return a united set with at most ``ipc`` images a class, the means by mass of those that were united.

    Each image's weight is the sum of those in its cell, up to one factor for all, by which their mean is 1; soft labels
    are means likewise. A class with fewer different images keeps them all.

    Args:
        united: by `merge_sets`, of sets whose images are centroids in principal components, weighted by mass.
        ipc: images a class, 1 or more.

    Raises:
        DataError: the images are no such centroids, or are cut into tiles.
    """
    _refuse(united)
    import sklearn.cluster  # noqa: F401  (a limit holds for the libraries that are loaded by then)
    from threadpoolctl import threadpool_limits

    cell, count = np.empty(len(united.labels), np.int64), 0
    with threadpool_limits(1):
        for label in np.unique(united.labels):
            rows = np.flatnonzero(united.labels == label)
            found = _cells(united.images[rows].reshape(len(rows), -1), united.weights[rows], ipc)
            cell[rows], count = count + found, count + int(found.max()) + 1
    masses = np.bincount(cell, united.weights.astype(np.float64), minlength=count)
    soft, first = united.soft_labels, np.unique(cell, return_index=True)[1]
    return replace(
        united,
        images=_means(united.images, united.weights, cell, masses).astype(np.float32),
        labels=united.labels[first],
        weights=(masses / masses.mean()).astype(np.float32),
        stage=np.zeros(count, np.int64),
        soft_labels=None if soft is None else _distributions(_means(soft, united.weights, cell, masses)),
        provenance=united.provenance.replaced(
            united_images=united.provenance.united_images or len(united.labels), stages=1
        ),
    )


def _cells(images: np.ndarray, weights: np.ndarray, ipc: int) -> np.ndarray:
    """Return the cell of each image (n, D), int64 (n,), by falling mass, 0 to K - 1 with K at most ``ipc``."""
    from sklearn.cluster import KMeans

    different = len(np.unique(images[weights > 0], axis=0))
    points = images.astype(np.float64)
    model = KMeans(min(ipc, different), n_init=STARTS, random_state=SEED).fit(points, sample_weight=weights)
    order = np.argsort(-np.bincount(model.labels_, weights.astype(np.float64)), kind="stable")
    return np.argsort(order)[model.labels_]


def _means(values: np.ndarray, weights: np.ndarray, cell: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Return the mean by weight of the values (N, ...) of each cell, float64 (K, ...)."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    sums = np.zeros((len(masses), flat.shape[1]))
    np.add.at(sums, cell, weights[:, None] * flat)
    return (sums / masses[:, None]).reshape(len(masses), *values.shape[1:])


def _distributions(means: np.ndarray) -> np.ndarray:
    return (means / means.sum(axis=1, keepdims=True)).astype(np.float32)


def _refuse(united: DistilledSet) -> None:
    if united.soft_labels is not None and united.label_kind != "probabilities":
        raise DataError(
            "the labels are values or target vectors, which have no mean by masses",
            expected="classes or probabilities",
            do="merge the sets without --ipc",
        )
    known = united.provenance.quantisation
    if known is None or united.provenance.starts_from != "quantised" or not known.weights:
        raise DataError(
            "not all sets state images that are centroids, unchanged, and weights of one kind",
            expected="images that are means of patients' images, as ddoq makes them, weighted by mass",
            do="leave out --ipc: the images are then united as they are",
        )
    if known.encoder != "pca":
        raise DataError(
            f"the images of the sets are {KINDS.get(known.encoder, KINDS[''])}",
            expected="centroids in principal components, of which a mean of images is the image of the mean",
            do="leave out --ipc: the images are then united as they are, each with its mass; or have sets of fewer "
            "images sent, which their makers alone can make (method.ipc)",
        )
    if known.weights != "mass" or (united.weights == 0).any():
        raise DataError(
            f"the weights of the sets are not their masses (method.quantise.weights = {known.weights})",
            expected="method.quantise.weights = mass, or how many patients stand behind an image is not known",
            do="leave out --ipc, or have the sets sent with weights by mass",
        )
    if united.tiles > 1:
        raise DataError(
            f"the images of the sets are cut into {united.tiles} x {united.tiles} tiles, of centroids that are another "
            "in each",
            expected="images without tiles (method.tiles = 1)",
            do="leave out --ipc: the images are then united as they are",
        )
