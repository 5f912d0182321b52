"""Importance: probabilities by which images of a class are drawn, and draws of distinct ones by them.

A sum over all n images of a class is estimated without bias from m of them, drawn so that image i is among them with
probability pi_i = m q_i, each weighted by 1 / (m q_i) (Horvitz and Thompson 1952). Which q is ours to choose; two are
here, each with a floor, so that no image has a boundless weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

CERTAIN = 1 - 1e-9
"""A probability from which on an image counts as certain: rounding can then never let one be drawn twice."""


@dataclass(frozen=True)
class Drawn:
    """Distinct images of a class, in an order drawn at random.

    Attributes:
        at: (m,) which of the class's images.
        weights: (m,) 1 / pi of each.
    """

    at: Int[np.ndarray, " m"]
    weights: Float[np.ndarray, " m"]


def by_leverage(features: Float[np.ndarray, "n D"]) -> Float[np.ndarray, " n"]:
    """Return q from ridge leverage scores, of a regression with an intercept that is not penalised.

    l_i = 1/n + [K (K + lambda)^-1]_ii with K = F F^T of the centred features F, lambda = tr(K) / n, and q = l / sum(l).
    It is worked out as f_i^T (F^T F + lambda)^-1 f_i, in float64, which costs D^3 in place of n^3. Where all features
    are alike q is 1/n.

    Args:
        features: of one class's images.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    count, size = centred.shape
    penalty = np.square(centred).sum() / count
    leverage = np.full(count, 1 / count)
    if penalty > 0:
        inner = centred.T @ centred + penalty * np.eye(size)
        leverage += np.einsum("nd,dn->n", centred, np.linalg.solve(inner, centred.T))
    return np.asarray(leverage / leverage.sum())


def by_distance(features: Float[np.ndarray, "n D"]) -> Float[np.ndarray, " n"]:
    """Return q_i = 1/(2n) + d_i^2 / (2 sum d^2), d_i the distance from the mean of the features; 1/n where it is 0.

    Args:
        features: of one class's images.
    """
    squares = np.square(features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)).sum(axis=1)
    uniform = np.full(len(features), 1 / len(features))
    return uniform if squares.sum() == 0 else uniform / 2 + squares / (2 * squares.sum())


def inclusion(q: Float[np.ndarray, " n"], count: int) -> Float[np.ndarray, " n"]:
    """Return pi with sum(pi) = count: proportional to q, but for images whose share would be 1 or more, which are
    certain.

    Args:
        q: positive, of one class's images.
        count: images to draw, n at most.
    """
    certain = np.zeros(len(q), bool)
    while not certain.all():
        shares = (count - certain.sum()) * q / q[~certain].sum()
        new = ~certain & (shares >= CERTAIN)
        if not new.any():
            return np.where(certain, 1.0, shares)
        certain |= new
    return np.ones(len(q))


def draw(q: Float[np.ndarray, " n"], count: int, rng: np.random.Generator) -> Drawn:
    """Draw distinct images, image i with probability `inclusion` (systematic sampling in random order; Madow 1949).

    Args:
        q: positive, of one class's images.
        count: images to draw, n at most.
        rng: decides the draw.
    """
    shares = inclusion(q, count)
    certain = np.flatnonzero(shares == 1)
    others = rng.permutation(np.flatnonzero(shares < 1))
    points = rng.random() + np.arange(count - len(certain))
    found = others[np.minimum(np.searchsorted(np.cumsum(shares[others]), points, side="right"), len(others) - 1)]
    at = rng.permutation(np.concatenate([certain, found]).astype(np.int64))
    return Drawn(at, 1 / shares[at])
