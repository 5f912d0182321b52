"""Centroids: a distilled set whose images are the decoded centroids of every class themselves (DDOQ, D4M)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medistill.artifacts.local_key import local_key
from medistill.artifacts.making import Chain
from medistill.methods.base import Distilled
from medistill.methods.quantising.quantise import quantise
from medistill.methods.quantising.teacher import soft_labels
from medistill.recipe import CentroidsRecipe, Recipe, quantisation_of
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
    taught = recipe.method.learns_labels
    return Distilled(
        images=images,
        labels=centroids.labels,
        weights=centroids.weights,
        stage=np.zeros(len(images), np.int64),
        student_lr=recipe.evaluate.lr,
        normalisation=normalisation,
        soft_labels=soft_labels(images, normalisation, context, teaching_of(recipe)) if taught else None,
        chain=chain,
        origin=origin,
        quantisation=centroids.record,
    )


def teaching_of(recipe: Recipe) -> CentroidsRecipe:
    """How soft labels come to the centroids of a recipe.

    Raises:
        TypeError: its method has none.
    """
    settings = quantisation_of(recipe.method)
    if not isinstance(settings, CentroidsRecipe):
        raise TypeError(f"method {recipe.method.name} has no teachers")
    return settings
