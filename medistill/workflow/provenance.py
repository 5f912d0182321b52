"""Provenance: what a set says of its own making, whichever method made it. No patient's identifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from medistill.artifacts.corpus import Corpus
from medistill.methods.registry import recipe_facts
from medistill.networks.registry import NetworkSpec
from medistill.privacy.accounting import Guarantee
from medistill.privacy.spent import Spent
from medistill.quantisation.record import Quantisation
from medistill.recipe import Recipe, quantisation_of
from medistill.workflow.environment import versions


def provenance(
    corpus: Corpus,
    recipe: Recipe,
    spec: NetworkSpec,
    device: torch.device,
    quantisation: Quantisation | None,
    spent: Spent | None = None,
) -> dict[str, Any]:
    """Plain values that every distilled set carries.

    Args:
        quantisation: what its images are, or began as, the centroids of; None where they began otherwise.
        spent: what was spent in all on these people; None without differential privacy.
    """
    guarantee = Guarantee.of(recipe)
    return {
        "method": recipe_facts(recipe).display_name,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_digest": recipe.digest,
        "network": spec.name,
        "versions": versions(),
        "device": device.type,
        "corpus": corpus.content,
        **({} if guarantee is not None else _counts(corpus)),
        "split_unit": corpus.split_unit,
        "synthetic_source": corpus.synthetic,
        "text_check": _text_check(corpus),
        "starts_from": recipe.method.starts_from,
        **({} if quantisation is None else {"quantisation": _quantisation(quantisation, recipe)}),
        "stages": recipe.method.stage_count,
        "soft_labels": recipe.method.learns_labels,
        **_privacy(recipe, guarantee, spent),
    }


def _counts(corpus: Corpus) -> dict[str, Any]:
    """How much the set was distilled from, which under differential privacy it does not tell."""
    train = corpus.rows("train")
    return {
        "training_images": {name: int(np.sum(corpus.labels[train] == c)) for c, name in enumerate(corpus.class_names)},
        "training_groups": len(np.unique(corpus.groups[train])),
    }


def _text_check(corpus: Corpus) -> dict[str, str]:
    """What looked for text in the originals, a setting and versions alone; also that nothing did."""
    check = corpus.text_check
    return {"policy": "unchecked"} if check is None else {"policy": check.policy, "by": check.by}


def _quantisation(known: Quantisation, recipe: Recipe) -> dict[str, Any]:
    """What a recipient should know of the centroids, and of the teacher where there was one."""
    centroids, settings = recipe_facts(recipe).centroids, quantisation_of(recipe.method)
    labels = "soft" if recipe.method.learns_labels else "hard"
    taught = centroids and recipe.method.learns_labels
    return {
        "encoder": known.encoder,
        "dimension": known.dimension,
        "min_cluster_size": known.min_cluster_size,
        "smallest_cluster": known.smallest,
        **({"weights": known.weights, "labels": labels} if centroids else {}),
        **({"temperature": settings.temperature, "teachers": settings.teachers} if taught else {}),
        **({"decoder": known.decoder, "licence": known.licence} if known.decoder else {}),
    }


def _privacy(recipe: Recipe, guarantee: Guarantee | None, spent: Spent | None) -> dict[str, Any]:
    """What was done for privacy, in words, and the guarantee where there is one."""
    if guarantee is not None:
        in_all = {} if spent is None else {"privacy_spent": spent.as_json()}
        told = guarantee.sentence if spent is None else f"{guarantee.sentence} {spent.sentence}"
        return {"privacy": told, "differential_privacy": guarantee.as_json(), **in_all}
    whitened = " The set carries the mean and the whitening matrix of its training images." if recipe.data.zca else ""
    return {"privacy": f"No formal privacy guarantee was sought in this mode.{whitened}"}
