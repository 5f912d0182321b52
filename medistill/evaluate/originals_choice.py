"""The choice of originals: which images of the training split the networks of a control arm are trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.evaluate.protocol import random_beside
from medistill.evaluate.representatives import Representatives, available
from medistill.training.randomness import derive_seed

Draw = Callable[[int], np.ndarray]
"""Number of a network -> rows int64 of the corpus that it is trained on."""
Choice = Callable[[DistilledSet, Corpus, int], Draw]
"""A set, the corpus and a seed -> the draw. What all networks share is worked out once, here."""


def whole_split(distilled: DistilledSet, corpus: Corpus, seed: int) -> Draw:
    """Take the whole training split for every network."""
    rows = corpus.rows("train")
    return lambda number: rows


def at_random(distilled: DistilledSet, corpus: Corpus, seed: int) -> Draw:
    """Draw as many of each class as the set has, anew for each network."""
    return lambda number: random_beside(distilled, corpus, seed, number)


def nearest_to_centres(distilled: DistilledSet, corpus: Corpus, seed: int) -> Draw:
    """Take as many of each class as the set has, those nearest to centres of k-means, from a new start each time."""
    per_class = available(corpus, np.bincount(distilled.labels, minlength=len(corpus.class_names)))
    representatives = Representatives.of(corpus, per_class, distilled.normalisation)
    return lambda number: representatives.draw(derive_seed(seed, "k-means", number))


CHOICES: Mapping[str, Choice] = {
    "whole split": whole_split,
    "at random": at_random,
    "k-means": nearest_to_centres,
}
"""Every way to choose originals, by the name that arms know it under (`medistill.recipe.arms.Arm.chosen`)."""
