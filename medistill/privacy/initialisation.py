"""Initialisation: which real images a set began as, drawn again from its seed."""

from __future__ import annotations

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import MedistillError
from medistill.evaluate.protocol import random_rows
from medistill.privacy.signals import Initialisation
from medistill.recipe import validate_recipe


def initial_rows(distilled: DistilledSet, corpus: Corpus) -> Initialisation:
    """Rows of the corpus that the images began as; else why they are not known."""
    known = distilled.provenance
    if known.get("starts_from") == "noise":
        return Initialisation(None, "the images began as noise")
    if known.get("starts_from") == "quantised":
        return Initialisation(None, "no image began as one real image: each began as the mean of several")
    try:
        made_with = validate_recipe(known["recipe"], "the recipe inside the set")
        per_class = [made_with.distill.ipc if c in distilled.labels else 0 for c in range(len(corpus.class_names))]
        if known.get("starts_from") != "real" or not np.array_equal(
            distilled.labels, np.repeat(np.arange(len(per_class)), per_class)
        ):
            return Initialisation(None, "the set does not say that it began as the images that its recipe draws")
        return Initialisation(random_rows(corpus, per_class, made_with.seed, -1), "")
    except (KeyError, MedistillError):
        return Initialisation(None, "the set holds no recipe from which its starting images could be drawn again")
