"""Private statistics: the one look at the patients that a run takes, under conditions that are checked before it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from medistill.artifacts.class_statistics import ClassStatistics
from medistill.artifacts.projection import Projection
from medistill.encoders.encoder import Encoder
from medistill.encoders.features import features_of
from medistill.encoders.projecting import encoder_projection, plain_projection
from medistill.errors import DataError, RecipeError, UsageError
from medistill.statistics.contributions import Blocks
from medistill.statistics.gaussian_mechanism import sigma_for
from medistill.statistics.kept_release import draw_release, kept_release
from medistill.statistics.release import record_of, release
from medistill.training.context import Context

if TYPE_CHECKING:
    from medistill.methods.private_means import Settings

MOST_SECOND = 512
"""Numbers of an image of which second moments are still released."""
TRIED = 4
"""Random images by which it is told whether an encoder sees anything."""


def refuse_unready(context: Context, settings: Settings, class_ids: Sequence[int]) -> None:
    """Refuse what would break the guarantee or make nothing of it, before anything is spent. It looks at no patient.

    Args:
        context: of the run.
        settings: of the method.
        class_ids: classes that the set is to hold.

    Raises:
        UsageError: no differential privacy is asked for.
        RecipeError: the network is no probe, the public counts are not one a class, a space is named twice, second
            moments are too many, or what is released might be too large to be kept.
        DataError: the encoder sees the same in every image, or the images do not fit it.
    """
    recipe, corpus = context.recipe, context.corpus
    if recipe.privacy.mode != "dp":
        raise UsageError(
            f"method {settings.name} without differential privacy",
            expected="a budget, which is what the method is for",
            do="add --dp-epsilon E, or choose another --method",
        )
    encoder = _encoder(context)
    if settings.class_units and len(settings.class_units) != len(corpus.class_names):
        raise RecipeError(
            f"method.class_units has {len(settings.class_units)} public counts, and there are "
            f"{len(corpus.class_names)} classes",
            expected="one for each class, in the order of data.classes",
            do="give them all, or leave them out and set method.count_share=0.05: then they are counted with noise",
        )
    if settings.space != "probe" and encoder.projection is not None:
        raise RecipeError(
            f"method.space is {settings.space}, and network.projection names a space",
            expected="one of them",
            do="leave out --public, or set method.space=probe",
        )
    if settings.second_share and _projection(settings, encoder).dimension > MOST_SECOND:
        raise RecipeError(
            f"second moments of {_projection(settings, encoder).dimension} numbers (method.second_share)",
            expected=f"at most {MOST_SECOND}: they are half of its square",
            do="project to fewer numbers with --public FOLDER, or set method.second_share=0",
        )
    record_of(
        [corpus.class_names[c] for c in class_ids],
        projection=_projection(settings, encoder),
        blocks=_blocks(context, settings, class_ids),
        sigma=sigma_for(recipe.privacy.epsilon, recipe.privacy.delta),
        unit=recipe.privacy.unit,
    )
    channels, image_size = corpus.images.shape[1:3]
    rng = torch.Generator().manual_seed(0)
    seen = encoder.encoded(torch.rand(TRIED, channels, image_size, image_size, generator=rng))
    if not bool(torch.isfinite(seen).all()) or float(seen.std(dim=0).max()) == 0:
        raise DataError(
            f"the encoder {encoder.display_name} sees the same in every image, or no finite number",
            expected="features that differ from image to image",
            do="use another encoder (medistill encoder list)",
        )


def private_statistics(context: Context, settings: Settings, class_ids: Sequence[int]) -> ClassStatistics:
    """Return the statistics of the training images that were released for this run, drawn now if they were not yet.

    Args:
        context: of the run; its folder keeps them.
        settings: of the method.
        class_ids: classes of the corpus that take part, ascending.

    Raises:
        UsageError: the run holds a release that was made under other settings, or of another corpus; or its entry in
            the ledger was used for another draw meanwhile.
        DivergedError: the encoder gives numbers that are not finite.
    """
    corpus, recipe, encoder = context.corpus, context.recipe, _encoder(context)
    privacy, projection, state = recipe.privacy, _projection(settings, encoder), context.out / "state"
    blocks, sigma = _blocks(context, settings, class_ids), sigma_for(privacy.epsilon, privacy.delta)
    key = _key(context, projection, class_ids)
    kept = kept_release(state, key)
    if kept is not None:
        context.progress.say("The class statistics were released before, and are used as they are.")
        return kept
    features = features_of(corpus, encoder.whole, context.device, context.progress)
    rows, units = corpus.rows("train"), corpus.units("train", privacy.unit)
    taken = np.isin(corpus.labels[rows], class_ids)

    def draw() -> ClassStatistics:
        context.before_draw()
        return release(
            lambda some: features[rows[taken][some]],
            np.searchsorted(np.array(class_ids), corpus.labels[rows[taken]]),
            units[taken],
            class_names=[corpus.class_names[c] for c in class_ids],
            projection=projection,
            blocks=blocks,
            sigma=sigma,
            unit=privacy.unit,
            public_counts=[settings.class_units[c] for c in class_ids] if settings.class_units else (),
        )

    drawn = draw_release(state, key, draw)
    context.progress.say(
        f"The class statistics are released, with epsilon = {privacy.epsilon:g}: no image of a patient is looked at "
        "from here on."
    )
    return drawn


def targets_of(statistics: ClassStatistics, context: Context) -> np.ndarray:
    """Return the means of the classes, float64 (C, D), as features that the probe of a run sees."""
    if _encoder(context).projection is None:
        return statistics.feature_means()
    return statistics.means * math.sqrt(statistics.projection.dimension)


def _key(context: Context, projection: Projection, class_ids: Sequence[int]) -> str:
    """Return what decides the statistics but for the noise."""
    recipe = context.recipe
    told = {
        "method": recipe.method.model_dump(mode="json"),
        "privacy": recipe.privacy.model_dump(mode="json"),
        "corpus": context.corpus.content,
        "projection": projection.digest,
        "encoder": _encoder(context).sha256,
        "classes": list(class_ids),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _blocks(context: Context, settings: Settings, class_ids: Sequence[int]) -> Blocks:
    return Blocks(
        classes=len(class_ids),
        dimension=_projection(settings, _encoder(context)).dimension,
        clip=context.recipe.privacy.clip,
        counts=settings.count_share,
        second=settings.second_share,
    )


def _encoder(context: Context) -> Encoder:
    from medistill.methods.rendering.encoder import encoder_of

    return encoder_of(context)


def _projection(settings: Settings, encoder: Encoder) -> Projection:
    """Return the public map to the space in which the means are taken."""
    if settings.space == "raw":
        return plain_projection(encoder)
    return encoder.projection or encoder_projection(encoder)
