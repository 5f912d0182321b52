"""Centroids: a distilled set whose images are the decoded centroids of every class themselves (DDOQ, D4M)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.networks.registry import NetworkSpec
from medistill.progress import Progress
from medistill.recipe import Recipe
from medistill.training.context import Context
from medistill.workflow.experts import fitted_normalisation
from medistill.workflow.provenance import provenance
from medistill.workflow.quantise import quantise
from medistill.workflow.teacher import soft_labels


def centroid_set(
    corpus: Corpus,
    recipe: Recipe,
    *,
    out: Path,
    held: Sequence[int],
    spec: NetworkSpec,
    place: torch.device,
    progress: Progress,
) -> DistilledSet:
    """Quantise every class, and label its centroids.

    Args:
        held: classes of the corpus that the set is to hold, ascending.

    Raises:
        DataError: a class cannot be quantised as it should.
        DivergedError: the autoencoder or a teacher left the finite numbers.
    """
    centroids = quantise(corpus, recipe, held, out=out, place=place, progress=progress)
    normalisation = fitted_normalisation(corpus, recipe, progress)
    images = centroids.images(normalisation)
    context = Context(corpus, recipe, spec, place, out, progress)
    taught = soft_labels(images, normalisation, context) if recipe.distill.labels == "soft" else None
    return DistilledSet(
        images=images,
        labels=centroids.labels,
        weights=centroids.weights,
        stage=np.zeros(len(images), np.int64),
        student_lr=recipe.evaluate.lr,
        normalisation=normalisation,
        class_names=corpus.class_names,
        provenance=provenance(corpus, recipe, spec, place, centroids.record),
        soft_labels=taught,
    )
