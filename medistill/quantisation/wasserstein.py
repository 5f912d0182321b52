"""Wasserstein distances W2 between the codes of a class and a few points that stand for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medistill.quantisation.cells import assign, distinct, quantise
from medistill.training.randomness import derive_seed

SAMPLED = 5_000
"""Most codes on which random subsets and the rate are measured; evenly spaced in the class."""
TRANSPORTED = 1_500
"""Codes between which and the centroids a transport plan is solved for, about: its cost is cubic."""
RATE_COUNTS = (1, 2, 5, 10, 20, 50, 100, 200)
"""Numbers of centroids at which the rate is measured."""
PASSES, REFINE = 3, 20
"""Of CLVQ and of Lloyd, for a point of the rate."""
BATCH = 1024
"""Codes that are read at once."""


def w2_mass(codes: np.ndarray, centres: np.ndarray) -> float:
    """W2 between codes (n, D), each of the mass 1/n, and centroids (K, D) with the masses of their cells.

    No plan can do better than to take each code to its nearest centroid, and these masses allow it: W2 is the root of
    the mean squared distance to the nearest centroid. In units of the code.
    """
    return float(np.sqrt(assign(codes, centres, batch=BATCH, tick=_unseen).squared.mean()))


def w2_uniform(codes: np.ndarray, centres: np.ndarray) -> float:
    """W2 between a sample of the codes (n, D) and centroids (K, D) of the mass 1/K each, by an exact transport plan.

    Every centroid stands for as many codes of the sample: about `TRANSPORTED` codes in all, evenly spaced, at least K
    and never more than n. K must not be above n. Among the plans between points of equal mass a one-to-one assignment
    is the best (Birkhoff), which is solved for exactly. In units of the code.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    each = max(1, min(TRANSPORTED, len(codes)) // len(centres))
    sample = _spaced(codes, each * len(centres)).astype(np.float64)
    squared = np.repeat(cdist(sample, centres.astype(np.float64), "sqeuclidean"), each, axis=1)
    return float(np.sqrt(squared[linear_sum_assignment(squared)].mean()))


def w2_random(codes: np.ndarray, count: int, *, draws: int, seed: int) -> float:
    """`w2_mass` of as many random codes in place of centroids: mean over draws.

    It is measured on at most `SAMPLED` codes, or four times ``count`` where these are more.
    """
    sample = _spaced(codes, max(SAMPLED, 4 * count))
    drawn = [np.random.default_rng(derive_seed(seed, "subset", draw)) for draw in range(draws)]
    return float(np.mean([w2_mass(sample, sample[rng.choice(len(sample), count, replace=False)]) for rng in drawn]))


def rate(codes: np.ndarray, counts: Sequence[int] = RATE_COUNTS, *, seed: int) -> list[tuple[int, float]]:
    """How `w2_mass` falls with the number of centroids, as (K, W2), on at most `SAMPLED` codes.

    Zador's theorem lets it fall as K^(-1/d), with d the dimension of what the codes fill (Graf and Luschgy 2000,
    Foundations of Quantization for Probability Distributions). Numbers above a quarter of the codes are left out, at
    which a centroid is hardly a mean, and those above the number of different codes.
    """
    sample = _spaced(codes, SAMPLED)
    most = min(len(sample) // 4, distinct(sample, len(sample) // 4, batch=BATCH))
    found = []
    for count in [count for count in counts if count <= most]:
        cells = quantise(
            sample,
            np.arange(len(sample)),
            count,
            least=1,
            passes=PASSES,
            refine=REFINE,
            batch=BATCH,
            seed=derive_seed(seed, "rate", count),
            name="",
            tick=_unseen,
        )
        found.append((count, cells.w2))
    return found


def _spaced(codes: np.ndarray, most: int) -> np.ndarray:
    """At most so many codes, evenly spaced, in memory."""
    return np.asarray(codes[np.linspace(0, len(codes) - 1, min(most, len(codes)), dtype=np.int64)])


def _unseen(_: int) -> None:
    """Nobody watches."""
