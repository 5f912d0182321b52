"""Pruning: a corpus without the training images of each class that networks find hardest (BiLP, level 1)."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from medistill.artifacts.corpus import LEFT_OUT, Corpus
from medistill.recipe import PruneRecipe


def without_hardest(corpus: Corpus, losses: np.ndarray, settings: PruneRecipe) -> Corpus:
    """Return the corpus with the images of the highest loss of each class left out of the training split.

    The images and their rows stay where they are; the content is another, so that nothing that is made of the one is
    taken for what is made of the other. Of equal losses the later row goes.

    Args:
        corpus: the whole one.
        losses: (N,) of its training images, in the order of their rows.
        settings: what share of each class goes.
    """
    train, splits = corpus.rows("train"), corpus.splits.copy()
    for c in range(len(corpus.class_names)):
        of_class = np.flatnonzero(corpus.labels[train] == c)
        easiest = of_class[np.argsort(losses[of_class], kind="stable")]
        splits[train[easiest[len(easiest) - settings.dropped(len(easiest)) :]]] = LEFT_OUT
    kept = np.asarray(splits[train] != LEFT_OUT)
    content = hashlib.sha256(corpus.content.encode() + kept.tobytes()).hexdigest()
    return replace(corpus, content=content, splits=splits)


def left_out(whole: Corpus, part: Corpus) -> dict[str, int]:
    """Return class -> training images of a corpus that are not in a part of it; empty where it is the same."""
    gone = np.setdiff1d(whole.rows("train"), part.rows("train"))
    if not len(gone):
        return {}
    return {name: int(np.sum(whole.labels[gone] == c)) for c, name in enumerate(whole.class_names)}
