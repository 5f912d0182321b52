"""Centroids: a distilled set whose images are the decoded centroids of every class themselves (DDOQ, D4M)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medistill.artifacts.local_key import local_key
from medistill.artifacts.making import Chain
from medistill.artifacts.normalisation import Normalisation
from medistill.methods.base import Distilled
from medistill.methods.quantising.quantise import quantise
from medistill.methods.quantising.teacher import soft_labels
from medistill.recipe import CentroidsRecipe, quantisation_of
from medistill.training.context import Context
from medistill.training.fitted_normalisation import fitted_normalisation


def centroid_set(context: Context, class_ids: Sequence[int], origin: Mapping[str, Any]) -> Distilled:
    """Quantise every class, and label its centroids.

    Args:
        context: corpus, recipe, network and device, and the folder of the run.
        class_ids: classes of the corpus that the set is to hold, ascending.
        origin: what it is made from, for the record of its making.

    Raises:
        DataError: a class cannot be quantised as it should.
        DivergedError: the autoencoder or a teacher left the finite numbers.
    """
    corpus, recipe, progress = context.corpus, context.recipe, context.progress
    origin = {**origin, "experts": "", "start": ""}
    chain = Chain.start(local_key(), origin)
    centroids = quantise(context, class_ids)
    normalisation = fitted_normalisation(corpus, recipe, progress)
    images = centroids.images(normalisation)
    return Distilled(
        images=images,
        labels=centroids.labels,
        weights=centroids.weights,
        stage=np.zeros(len(images), np.int64),
        student_lr=recipe.evaluate.lr,
        normalisation=normalisation,
        soft_labels=_soft_labels(images, normalisation, context) if recipe.method.learns_labels else None,
        chain=chain,
        origin=origin,
        quantisation=centroids.record,
    )


def _soft_labels(images: np.ndarray, normalisation: Normalisation, context: Context) -> np.ndarray:
    settings = quantisation_of(context.recipe.method)
    if not isinstance(settings, CentroidsRecipe):
        raise TypeError(f"method {context.recipe.method.name} has no teachers")
    return soft_labels(images, normalisation, context, settings)
