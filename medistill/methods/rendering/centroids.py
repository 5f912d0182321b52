"""Rendered centroids: every class quantised in an encoder's features, and an image rendered from each centroid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from medistill.encoders.features import features_of
from medistill.encoders.layers import layer_spread
from medistill.methods.base import Distilled
from medistill.methods.quantising.quantise import quantise
from medistill.methods.rendering.encoder import encoder_of
from medistill.methods.rendering.render import render
from medistill.recipe.rendering import RenderingRecipe
from medistill.training.context import Context
from medistill.training.fitted_normalisation import fitted_normalisation


def rendered_centroids(
    context: Context, settings: RenderingRecipe, class_ids: Sequence[int], origin: Mapping[str, Any]
) -> Distilled:
    """Quantise every class in the features of the network's encoder, and render its centroids.

    Args:
        context: corpus, recipe, network and device, and the folder of the run.
        settings: of the images and of how they move.
        class_ids: classes of the corpus that the set is to hold, ascending.
        origin: what it is made from, for the record of its making.

    Raises:
        RecipeError: the network is no probe.
        DataError: a class cannot be quantised as it should.
        DivergedError: the optimisation left the finite numbers; the last good state is kept.
    """
    corpus, encoder = context.corpus, encoder_of(context)
    centroids = quantise(context, class_ids)
    features = features_of(corpus, encoder, context.device, context.progress)
    spread = torch.from_numpy(layer_spread(features, corpus.rows("train"), encoder))
    return render(
        context,
        settings,
        torch.from_numpy(centroids.codes),
        torch.diag(1 / spread),
        torch.from_numpy(centroids.labels),
        origin,
        normalisation=fitted_normalisation(corpus, context.recipe, context.progress),
        weights=torch.from_numpy(centroids.weights),
        quantisation=centroids.record,
    )
