"""Label memory: whether soft labels say the wrong class of patients whose label was made wrong.

Near a patient, an image made for each class says something of every class. Where coins decided which of K shadows held
a patient under a wrong label, shadows whose labels say that class more than others of the K should hold the patient no
oftener than by half; each such guess is a coin too.
"""

from __future__ import annotations

import numpy as np

from medistill.artifacts.label_kind import LabelKind
from medistill.privacy.exact import heads_of, sum_at_least

LEAST = float(np.finfo(np.float32).eps)
"""Probabilities below count as this: so far from 1 the other one cannot be told from it in float32."""
FINEST = 15
"""Largest weight of a guess. Among more than 16 shadows neighbours in rank weigh alike, so that sums stay short."""


def nearness(squared: np.ndarray, made_for: np.ndarray) -> np.ndarray:
    """What each image counts (N, Q) for each person: 1 over all, the same over the images of each class.

    Within a class an image at squared distance d counts as exp(-d / s), where s is the standard deviation of d over the
    class: nearness has no unit, and which classes are nearer does not count, since labels are asked and not images.

    Args:
        squared: (N, Q), squared distances of N people from Q images.
        made_for: int (Q,), the class that each image was made for.
    """
    counts, classes = np.zeros(squared.shape), np.unique(made_for)
    for c in classes:
        of_class = squared[:, made_for == c]
        spread = of_class.std(axis=1, keepdims=True)
        further = of_class - of_class.min(axis=1, keepdims=True)
        near = np.exp(-np.divide(further, spread, out=np.zeros_like(further), where=spread > 0))
        counts[:, made_for == c] = near / near.sum(axis=1, keepdims=True) / len(classes)
    return counts


def labels_say(labels: np.ndarray, kind: LabelKind, near: np.ndarray) -> np.ndarray:
    """What labels say of every class (N, C) near each person: the mean of their logarithms, or of values.

    Args:
        labels: (Q, C), soft labels.
        kind: "probabilities" or "values".
        near: (N, Q), from `nearness`.
    """
    told = labels.astype(np.float64)
    return np.asarray(near @ (np.log(np.maximum(told, LEAST)) if kind == "probabilities" else told))


def wrong_over_true(
    said: np.ndarray, true: np.ndarray, wrong: np.ndarray, beside: np.ndarray, beside_class: np.ndarray
) -> np.ndarray:
    """How much more labels say the wrong class than the true one (M,) near people with a wrong label, less the mean of
    the same near other people of the true class; 0 is taken off where there are none.

    Args:
        said: (M, C), from `labels_say`.
        true: int (M,), their classes.
        wrong: int (M,), the classes that they were given.
        beside: (B, C), likewise of other people.
        beside_class: int (B,), their classes.
    """
    people = np.arange(len(said))
    scores = said[people, wrong] - said[people, true]
    for k in people:
        others = beside[beside_class == true[k]]
        scores[k] -= (others[:, wrong[k]] - others[:, true[k]]).mean() if len(others) else 0.0
    return np.asarray(scores)


def guesses(scores: np.ndarray) -> np.ndarray:
    """What each shadow counts for each person, int (K, M): above 0 for a guess that it holds the person's wrong label,
    below 0 that it does not, 0 for none.

    It is twice the rank of the score among the person's K, ties shared, less K + 1: how many more of the others it
    exceeds than exceed it.

    Args:
        scores: (K, M), finite.

    Raises:
        ValueError: a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.sum(~np.isfinite(scores))} of {scores.size} scores of canaries are not finite")
    ranks = np.stack([np.sign(one[:, None] - one[None]).sum(axis=1) for one in scores.T], axis=1)
    most = len(scores) - 1
    return np.asarray(np.rint(ranks * min(1.0, FINEST / max(1, most))).astype(np.int64))


def chance_of_following(scores: np.ndarray, held: np.ndarray) -> float | None:
    """Probability that coins dealt anew agree with the scores as well; None where all scores of everybody are equal.

    Which shadow holds whom is drawn by fair coins, independent of each other and of all else. If it does not matter to
    the scores, then given these each guess is right with probability one half, whatever scores have in common; so the
    weights of the right ones add up to a sum of independent binomial counts.

    Args:
        scores: (K, M).
        held: bool (K, M), the coins.
    """
    guessed = guesses(scores)
    sizes, times = np.unique(np.abs(guessed[guessed != 0]), return_counts=True)
    if not len(sizes):
        return None
    right = int(np.abs(guessed[(guessed != 0) & (held == (guessed > 0))]).sum())
    return sum_at_least(right, [_of_coins(int(n), int(size)) for size, n in zip(sizes, times, strict=True)])


def told_apart(scores: np.ndarray, held: np.ndarray) -> float | None:
    """Share of the pairs of a shadow that holds a wrong label and one that does not, over all people, in which the
    former has the larger score, ties by half; None where there is no pair."""
    above, pairs = 0.0, 0
    for one, inside in zip(scores.T, held.T, strict=True):
        compared = np.sign(one[inside][:, None] - one[~inside][None])
        above, pairs = above + float((compared + 1).sum()) / 2, pairs + compared.size
    return above / pairs if pairs else None


def _of_coins(count: int, weight: int) -> np.ndarray:
    """Probabilities of 0, 1, ... of the weight times how many of ``count`` fair coins come up."""
    spread = np.zeros(count * weight + 1)
    spread[::weight] = heads_of(count)
    return spread
