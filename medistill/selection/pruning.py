"""Pruning: a corpus without the training images of each class that BiLP leaves out, by its level 1 or 2."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from medistill.artifacts.corpus import LEFT_OUT, Corpus
from medistill.recipe.prune import floored


def without_hardest(corpus: Corpus, losses: np.ndarray, share: float) -> Corpus:
    """Return the corpus with the images of the highest loss of each class left out of the training split.

    The images and their rows stay where they are; the content is another, so that nothing that is made of the one is
    taken for what is made of the other. Of equal losses the later row goes.

    Args:
        corpus: the whole one.
        losses: (N,) of its training images, in the order of their rows.
        share: of each class that goes.
    """
    return _without_last(corpus, losses, share, lambda losses: losses)


def without_extremes(corpus: Corpus, effects: np.ndarray, share: float) -> Corpus:
    """Return the corpus with the images left out, likewise, whose effect lies farthest from their class's mean.

    Those are the images in the two tails of the normal distribution with the class's mean and deviation, cut where
    ``share`` of the images is beyond. Of equally far ones the later row goes.

    Args:
        corpus: the whole one, or what `without_hardest` leaves.
        effects: (N,) of its training images, in the order of their rows.
        share: of each class that goes.
    """
    return _without_last(corpus, effects, share, lambda effects: np.abs(effects - effects.mean()))


def left_out(whole: Corpus, part: Corpus) -> dict[str, int]:
    """Return class -> training images of a corpus that are not in a part of it; empty where it is the same."""
    gone = np.setdiff1d(whole.rows("train"), part.rows("train"))
    if not len(gone):
        return {}
    return {name: int(np.sum(whole.labels[gone] == c)) for c, name in enumerate(whole.class_names)}


def _without_last(
    corpus: Corpus, scores: np.ndarray, share: float, ranked: Callable[[np.ndarray], np.ndarray]
) -> Corpus:
    """Return the corpus without those of each class that stand last.

    Args:
        corpus: the whole one.
        scores: (N,) of its training images, in the order of their rows.
        share: of each class that goes.
        ranked: what the images of a class stand in order of, from their scores.
    """
    train, splits = corpus.rows("train"), corpus.splits.copy()
    for c in range(len(corpus.class_names)):
        of_class = np.flatnonzero(corpus.labels[train] == c)
        if not len(of_class):
            continue
        first = of_class[np.argsort(ranked(scores[of_class]), kind="stable")]
        splits[train[first[len(first) - floored(share, len(first)) :]]] = LEFT_OUT
    kept = np.asarray(splits[train] != LEFT_OUT)
    content = hashlib.sha256(corpus.content.encode() + kept.tobytes()).hexdigest()
    return replace(corpus, content=content, splits=splits)
