"""Provenance: what a set says of its own making, whichever method made it. No patient's identifier."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.encoder_summary import EncoderSummary
from medistill.artifacts.provenance import Provenance, SpentRecord, TextCheckRecord
from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.encoders.encoder import Encoder
from medistill.encoders.store import stored_encoder
from medistill.methods.registry import recipe_facts
from medistill.privacy.accounting import Guarantee
from medistill.privacy.spent import Spent
from medistill.quantisation.record import Quantisation
from medistill.recipe import CentroidsRecipe, Recipe, quantisation_of
from medistill.selection.pruning import left_out
from medistill.training.context import Context
from medistill.workflow.environment import versions


def provenance(
    context: Context, whole: Corpus, quantisation: Quantisation | None, spent: Spent | None = None
) -> Provenance:
    """Return what every distilled set carries.

    Args:
        context: what it was made from, how, for which network and where.
        whole: the corpus with what was pruned.
        quantisation: what its images are, or began as, the centroids of; None where they began otherwise.
        spent: what was spent in all on these people; None without differential privacy.
    """
    corpus, recipe = context.corpus, context.recipe
    guarantee = Guarantee.of(recipe)
    counts: dict[str, Any] = {} if guarantee is not None else _counts(corpus, whole)
    return Provenance(
        method=recipe_facts(recipe).display_name,
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=recipe.digest,
        network=context.spec.name,
        encoder=None if context.spec.encoder is None else encoder_summary(context.spec.encoder),
        teacher=None if not recipe.method.taught_by else encoder_summary(stored_encoder(recipe.method.taught_by)),
        versions=versions(),
        device=context.device.type,
        corpus=whole.content,
        **counts,
        split_unit=corpus.split_unit,
        synthetic_source=corpus.synthetic,
        text_check=TextCheckRecord.of(corpus.text_check),
        starts_from=recipe.method.starts_from,
        quantisation=None if quantisation is None else _quantisation(quantisation, recipe),
        stages=recipe.method.stage_count,
        soft_labels=recipe.method.learns_labels,
        privacy=_privacy(recipe, guarantee, spent),
        differential_privacy=None if guarantee is None else guarantee.as_json(),
        privacy_spent=None if guarantee is None or spent is None else SpentRecord(**spent.as_json()),
    )


def _counts(corpus: Corpus, whole: Corpus) -> dict[str, Any]:
    """How much the set was distilled from, and how much was left out, which under differential privacy it does not
    tell."""
    train = corpus.rows("train")
    return {
        "training_images": {name: int(np.sum(corpus.labels[train] == c)) for c, name in enumerate(corpus.class_names)},
        "training_groups": len(np.unique(corpus.groups[train])),
        "pruned": left_out(whole, corpus) or None,
        "pruned_to": None if corpus is whole else corpus.content,
    }


def encoder_summary(encoder: Encoder) -> EncoderSummary:
    """What a recipient should know of an encoder, who has to bring it himself."""
    known = encoder.description
    return EncoderSummary(
        sha256=encoder.sha256,
        architecture=known.architecture,
        licence=known.licence,
        trained_on=known.trained_on,
        source=known.source,
        layers=known.layers,
    )


def _quantisation(known: Quantisation, recipe: Recipe) -> QuantisedSummary:
    """What a recipient should know of the centroids, and of the teacher where there was one."""
    centroids, settings = recipe_facts(recipe).centroids, quantisation_of(recipe.method)
    labels: Literal["soft", "hard"] = "soft" if recipe.method.learns_labels else "hard"
    taught = settings if isinstance(settings, CentroidsRecipe) and centroids and labels == "soft" else None
    return QuantisedSummary(
        min_cluster_size=known.min_cluster_size,
        smallest_cluster=known.smallest,
        encoder=known.encoder,
        dimension=known.dimension,
        weights=known.weights if centroids or known.encoder == "features" else "",
        labels=labels if centroids else "",
        temperature=None if taught is None else taught.temperature,
        teachers=0 if taught is None else taught.teachers,
        decoder=known.decoder,
        licence=known.licence if known.decoder else "",
    )


def _privacy(recipe: Recipe, guarantee: Guarantee | None, spent: Spent | None) -> str:
    """What was, and was not, done for privacy."""
    if guarantee is not None:
        return guarantee.sentence if spent is None else f"{guarantee.sentence} {spent.sentence}"
    whitened = " The set carries the mean and the whitening matrix of its training images." if recipe.data.zca else ""
    taught = (
        " The set carries a target vector for each image, learned from what a frozen encoder sees in its training "
        "images."
        if recipe.method.taught_by is not None
        else ""
    )
    return f"No formal privacy guarantee was sought in this mode.{whitened}{taught}"
