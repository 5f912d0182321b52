"""Patch set: a distilled set whose images are pasted together from patches of originals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medistill.artifacts.local_key import local_key
from medistill.artifacts.making import Chain
from medistill.artifacts.patched_summary import PatchedSummary
from medistill.methods.base import Distilled
from medistill.methods.patching.patches import patched_images
from medistill.methods.quantising.teacher import soft_labels
from medistill.recipe import PatchesRecipe
from medistill.training.context import Context
from medistill.training.fitted_normalisation import fitted_normalisation


def patch_set(
    context: Context, class_ids: Sequence[int], settings: PatchesRecipe, origin: Mapping[str, Any]
) -> Distilled:
    """Choose patches, paste them, and have teachers label the images.

    Args:
        context: corpus, recipe, network and device, and the folder of the run.
        class_ids: classes of the corpus that the set is to hold, ascending.
        settings: of the method.
        origin: what it is made from, for the record of its making.

    Raises:
        DataError: a class has too few images, or there is one class alone.
        ArtifactError: a denoiser that was brought does not fit the corpus.
        DivergedError: the denoiser or a teacher left the finite numbers.
    """
    corpus, recipe = context.corpus, context.recipe
    origin = {**origin, "experts": "", "start": ""}
    chain = Chain.start(local_key(), origin)
    found = patched_images(context, class_ids, settings)
    normalisation = fitted_normalisation(corpus, recipe, context.progress)
    images, taught = normalisation.apply(found.images), settings.learns_labels
    summary = PatchedSummary(
        along=settings.patches,
        originals=len(np.unique(found.rows)),
        groups=len(np.unique(corpus.groups[found.rows])),
        denoiser=settings.denoiser.sha256,
        licence=found.licence,
        teachers=settings.teachers if taught else 0,
        temperature=settings.temperature if taught else None,
    )
    return Distilled(
        images=images,
        labels=found.labels,
        weights=np.ones(len(images), np.float32),
        stage=np.zeros(len(images), np.int64),
        student_lr=recipe.evaluate.lr,
        normalisation=normalisation,
        soft_labels=soft_labels(images, normalisation, context, settings) if taught else None,
        chain=chain,
        origin=origin,
        known={"patched": summary},
    )
