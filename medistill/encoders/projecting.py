"""Projections: fitted to public or to drawn images, or without any; none looks at the patients they are for.

Each gives numbers whose vector has a norm of about 1 for an image like those that it knows, whatever their dimension:
so one clip suits all.
"""

from __future__ import annotations

import math

import numpy as np

from medistill.artifacts.projection import Projection, ProjectionRecord
from medistill.encoders.encoder import Encoder
from medistill.errors import DataError

LEAST_VARIANCE = 1e-9
"""Share of the largest variance below which a direction is taken for constant."""


def public_projection(
    features: np.ndarray, groups: np.ndarray, components: int, record: ProjectionRecord
) -> Projection:
    """Fit principal components within groups and whiten them: ``(x - mean) V diag(s)^-1 / √K``, of K variances s².

    What differs between groups, such as sites and classes, is left out of the variances: it is the spread within a
    class that a mean has to be told from (Fisher 1936).

    Args:
        features: (N, D) of public images.
        groups: int64 (N,) the group of each.
        components: K.
        record: of these images and their encoder.

    Raises:
        DataError: more components than public images can tell apart, or images that are alike to the encoder.
    """
    count, width = features.shape
    _, group = np.unique(groups, return_inverse=True)
    of_group = np.bincount(group) if count else np.zeros(0, np.int64)
    most = max(0, min(count - len(of_group), width))
    if components > most:
        raise DataError(
            f"{components} components of {count} public images in {len(of_group)} sites and classes, with {width} "
            "features",
            expected=f"at most {most}: no more than features, nor than images less a site's class each",
            do="lower --components, or name more public images (--public)",
        )
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features.astype(np.float64)
    sums = np.zeros((len(of_group), width))
    np.add.at(sums, group, centred)
    centred -= (sums / of_group[:, None])[group]
    # The smaller of the two products has the same eigenvalues as the covariance.
    of_images = count < width
    gram = (centred @ centred.T if of_images else centred.T @ centred) / count
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
    if values[0] <= 0 or values[-1] <= LEAST_VARIANCE * values[0]:
        told = int((values > LEAST_VARIANCE * max(values[0], 0)).sum())
        raise DataError(
            f"the encoder tells the {count} public images apart in {told} directions, and {components} were asked for",
            expected="public images that differ in as many directions as there are components",
            do="lower --components, or name more public images (--public)",
        )
    if of_images:
        vectors = centred.T @ vectors / np.sqrt(count * values)
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(components)])
    matrix = vectors / np.sqrt(values * components)
    return Projection(mean.astype(np.float32), matrix.astype(np.float32), record)


def encoder_projection(encoder: Encoder) -> Projection:
    """Return the features as the encoder gives them, which its own centre and scale make of the size of 1."""
    width = len(encoder.centre)
    factor = np.full(width, 1 / math.sqrt(width), np.float32)
    return Projection(np.zeros(width, np.float32), factor, ProjectionRecord(kind="encoder", encoder=encoder.sha256))


def plain_projection(encoder: Encoder) -> Projection:
    """Return the features as its network gives them, with its centre and scale taken back."""
    centre, scale = (one.cpu().numpy().astype(np.float64) for one in (encoder.centre, encoder.scale))
    factor = (scale / math.sqrt(len(centre))).astype(np.float32)
    record = ProjectionRecord(kind="none", encoder=encoder.sha256)
    return Projection((-centre / scale).astype(np.float32), factor, record)
