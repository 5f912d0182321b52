"""Initialisation: which real images a set began as, drawn again from its seed."""

from __future__ import annotations

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import MedistillError
from medistill.evaluate.important_originals import starting_rows
from medistill.privacy.signals import Initialisation


def initial_rows(distilled: DistilledSet, corpus: Corpus) -> Initialisation:
    """Rows of the corpus that the images, or their tiles, began as; else why they are not known.

    Args:
        distilled: the set.
        corpus: as its method saw it, without what was pruned.
    """
    known = distilled.provenance
    if known.starts_from == "noise":
        return Initialisation(None, "the images began as noise")
    if known.starts_from == "quantised":
        return Initialisation(None, "no image began as one real image: each began as the mean of several")
    if known.starts_from == "patches":
        return Initialisation(None, "no image began as one real image: each is pasted together from parts of several")
    if known.pruned_to not in (None, corpus.content):
        return Initialisation(None, "other originals are pruned here than when the set was made")
    try:
        made_with = known.made_with("the set")
        method, held = made_with.method, np.unique(distilled.labels)
        per_class = [method.begun if c in held else 0 for c in range(len(corpus.class_names))]
        if known.starts_from != "real" or not np.array_equal(
            distilled.expanded().labels, np.repeat(np.arange(len(per_class)), per_class)
        ):
            return Initialisation(None, "the set does not say that it began as the images that its recipe draws")
        by = made_with.method.start_drawn_by
        return Initialisation(starting_rows(corpus, per_class, distilled.normalisation, by, made_with.seed), "")
    except MedistillError:
        return Initialisation(None, "the set holds no recipe from which its starting images could be drawn again")
