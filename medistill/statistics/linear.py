"""Linear classifier of class statistics: the nearest noisy mean, in the metric of the spread within classes."""

from __future__ import annotations

import numpy as np

from medistill.artifacts.class_statistics import ClassStatistics
from medistill.errors import ArtifactError

LEAST = 0.05
"""Least variance within a class, as a share of what a projection is made for: less is taken for noise."""


def linear_classifier(statistics: ClassStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Return weights float32 (C, D) and biases (C,) of logits of features: linear discriminant analysis.

    In the projected space images of class c are taken for Normal(mean_c, S), all classes alike often: the logit of c is
    mean_cᵀ S⁻¹ z - mean_cᵀ S⁻¹ mean_c / 2 (Fisher 1936). S is what the second moments leave for within the classes,
    where they were released, with its eigenvalues kept above `LEAST`; else what a projection is made for, 1 / K in
    every direction. The variance that noise gives the means is added to it.

    Args:
        statistics: of at least two classes.

    Raises:
        ArtifactError: weights that are finite do not follow from them.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # told of below
            weights, biases = _weights(statistics)
    except np.linalg.LinAlgError:
        weights = biases = np.full(1, np.nan)
    if not np.isfinite(weights).all() or not np.isfinite(biases).all():
        raise ArtifactError(
            "the class statistics hold numbers of which no finite classifier follows",
            expected="a projection and sums of a size that features have",
            do="do not rely on the set; train on its images, or have it sent again",
        )
    return weights, biases


def _weights(statistics: ClassStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Return what `linear_classifier` does, finite or not."""
    means, projection, record = statistics.means, statistics.projection, statistics.record
    dimension = projection.dimension
    spread = _within(statistics) if statistics.second is not None else np.eye(dimension) / dimension
    spread = spread + np.mean((np.array(record.sums_noise) / statistics.sizes) ** 2) * np.eye(dimension)
    directions = np.linalg.solve(spread, means.T).T if statistics.second is not None else means / spread[0, 0]
    offsets = -0.5 * np.einsum("ck,ck->c", directions, means)
    matrix = projection.matrix.astype(np.float64)
    weights = directions * matrix if matrix.ndim == 1 else directions @ matrix.T
    return weights.astype(np.float32), (offsets - weights @ projection.centre).astype(np.float32)


def _within(statistics: ClassStatistics) -> np.ndarray:
    """Float64 (K, K): the covariance within the classes, positive."""
    assert statistics.second is not None  # noqa: S101  (asked for only where there are any)
    sizes, means = statistics.sizes, statistics.means
    within = (statistics.second - (sizes[:, None] * means).T @ means) / sizes.sum()
    values, vectors = np.linalg.eigh(within)
    floor = LEAST / statistics.projection.dimension
    return np.asarray((vectors * np.maximum(values, floor)) @ vectors.T)
