"""The choice of originals: which images of the training split the networks of a control arm are trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.evaluate.important_originals import ImportantOriginals
from medistill.evaluate.protocol import random_beside
from medistill.evaluate.representatives import Representatives, available
from medistill.training.randomness import derive_seed


@dataclass(frozen=True)
class Chosen:
    """Originals that a network is trained on.

    Attributes:
        rows: int64, of the corpus.
        weights: float32, of each in the loss; None weighs all alike.
    """

    rows: np.ndarray
    weights: np.ndarray | None = None


Draw = Callable[[int], Chosen]
"""Number of a network -> what it is trained on."""
Choice = Callable[[DistilledSet, Corpus, int], Draw]
"""A set, the corpus and a seed -> the draw. What all networks share is worked out once, here."""


def whole_split(distilled: DistilledSet, corpus: Corpus, seed: int) -> Draw:
    """Take the whole training split for every network."""
    rows = corpus.rows("train")
    return lambda number: Chosen(rows)


def at_random(distilled: DistilledSet, corpus: Corpus, seed: int) -> Draw:
    """Draw as many of each class as the set has, anew for each network."""
    return lambda number: Chosen(random_beside(distilled, corpus, seed, number))


def nearest_to_centres(distilled: DistilledSet, corpus: Corpus, seed: int) -> Draw:
    """Take as many of each class as the set has, those nearest to centres of k-means, from a new start each time."""
    representatives = Representatives.of(corpus, _per_class(distilled, corpus), distilled.normalisation)
    return lambda number: Chosen(representatives.draw(derive_seed(seed, "k-means", number)))


def by_leverage(distilled: DistilledSet, corpus: Corpus, seed: int) -> Draw:
    """Draw as many of each class as the set has by ridge leverage, anew each time, and weigh each by 1 / (m q_i)."""
    originals = ImportantOriginals.of(corpus, _per_class(distilled, corpus), distilled.normalisation, "leverage")
    return lambda number: Chosen(*originals.draw(derive_seed(seed, "leverage", number)))


def _per_class(distilled: DistilledSet, corpus: Corpus) -> np.ndarray:
    """Return how many of each class are taken: as many as the set has, or all where there are fewer."""
    return available(corpus, np.bincount(distilled.labels, minlength=len(corpus.class_names)))


CHOICES: Mapping[str, Choice] = {
    "whole split": whole_split,
    "at random": at_random,
    "k-means": nearest_to_centres,
    "leverage": by_leverage,
}
"""Every way to choose originals, by the name that arms know it under (`medistill.recipe.arms.Arm.chosen`)."""
