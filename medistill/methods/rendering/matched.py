"""Matched to originals: images rendered so that a classifier on features finds them as good as the originals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medistill.encoders.features import features_of
from medistill.encoders.layers import feature_mean, layer_spread
from medistill.engine.objectives.base import Objective
from medistill.engine.sources.encoded_originals import EncodedOriginals
from medistill.evaluate.representatives import rows_by_class
from medistill.methods.base import Distilled
from medistill.methods.rendering.encoder import encoder_of
from medistill.methods.rendering.render import rendered, rendering_plan
from medistill.recipe.rendering import ComparedRecipe
from medistill.training.context import Context
from medistill.training.fitted_normalisation import fitted_normalisation


@dataclass(frozen=True)
class Compared:
    """What an objective of features compares with.

    Attributes:
        originals: a source of their features.
        centre: float64 (D,) their mean over the training split.
        spread: float64 (D,) root mean squared deviation there, that of a layer for all of its features.
    """

    originals: EncodedOriginals
    centre: Tensor
    spread: Tensor


def matched(
    context: Context,
    settings: ComparedRecipe,
    class_ids: Sequence[int],
    origin: Mapping[str, Any],
    objective: Callable[[Compared], Objective[Any]],
) -> Distilled:
    """Render images by an objective that compares their features with those of originals.

    Args:
        context: corpus, recipe, network and device, and the folder of the run.
        settings: of the images and of how they move, and how many originals of each class an outer step takes; of a
            class with fewer all are taken.
        class_ids: classes of the corpus that the set is to hold, ascending.
        origin: what it is made from, for the record of its making.
        objective: made of what it compares with.

    Raises:
        RecipeError: the network is no probe.
        DataError: a class has no training image, or a layer sees no difference between them.
        DivergedError: the optimisation left the finite numbers; the last good state is kept.
    """
    corpus, recipe, encoder, device = context.corpus, context.recipe, encoder_of(context), context.device
    rows_by_class(corpus, [int(c in class_ids) for c in range(len(corpus.class_names))], beside="to be made")
    features, rows = features_of(corpus, encoder, device, context.progress), corpus.rows("train")
    compared = Compared(
        EncodedOriginals(features, corpus.labels, rows, tuple(class_ids), settings.batch_real, recipe.seed, device),
        torch.from_numpy(feature_mean(features, rows)).to(device),
        torch.from_numpy(layer_spread(features, rows, encoder)).to(device),
    )
    labels = torch.tensor(class_ids).repeat_interleave(settings.ipc).to(device)
    normalisation = fitted_normalisation(corpus, recipe, context.progress)
    plan = rendering_plan(
        context, settings, objective(compared), labels, normalisation, made_from=f"{corpus.content} {encoder.sha256}"
    )
    return rendered(plan, context, origin)
