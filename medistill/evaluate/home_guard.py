r"""Guard for home: of what others sent no more is taken than a hospital's own patients show to be good for them.

Each weight w of the images that were sent, 0 among them, has the losses l_i(w) of own patients who had no part in the
training, and L(w) is their mean, each class alike often. Of few patients the smallest L falls to a weight by chance. So
the rule of one standard error is taken (Breiman et al. 1984, section 3.4.3), with paired losses: the least w is chosen
of which

    L(w) - L(w*) <= se(L(w) - L(w*)),    w* = argmin L

where se is of the difference, by a jackknife over patients (Efron, Tibshirani 1993, equation 11.5). That no patient of
a class but one is there leaves it without bound, and nothing is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HomeGuard:
    """What own patients say of the images that were sent.

    Attributes:
        taken: weight that the guard lets pass.
        best: weight w* of the smallest mean loss.
        gain: L(0) - L(w*), by how much own originals alone have a larger loss; None where these diverged.
        error: standard error of ``gain``; None where it has no bound, or there is no gain.
    """

    taken: float
    best: float
    gain: float | None
    error: float | None


def balanced_mean(losses: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the means (...) of losses (..., M) of images with classes (M,), each class alike often."""
    return np.mean([losses[..., labels == c].mean(axis=-1) for c in np.unique(labels)], axis=0)


def standard_error(losses: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> float:
    """Return the standard error of `balanced_mean`, by leaving out each patient in turn; infinite where a class has no
    other.

    Args:
        losses: float64 (M,).
        labels: int64 (M,), classes.
        patients: int64 (M,), whose image each is.
    """
    _, classes = np.unique(labels, return_inverse=True)
    _, whose = np.unique(patients, return_inverse=True)
    shape = (int(whose.max()) + 1, int(classes.max()) + 1)
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (whose, classes), losses)
    np.add.at(counts, (whose, classes), 1)
    left = counts.sum(axis=0) - counts
    if (left == 0).any():
        return math.inf
    without = ((sums.sum(axis=0) - sums) / left).mean(axis=1)
    return float(np.sqrt((len(without) - 1) * np.mean((without - without.mean()) ** 2)))


def guarded(
    losses: np.ndarray, weights: Sequence[float], labels: np.ndarray, patients: np.ndarray
) -> tuple[int, HomeGuard]:
    """Return the number of the weight that the guard lets pass, and what it saw.

    Args:
        losses: float64 (W, M), at each weight; NaN throughout where a network diverged, of one at least not.
        weights: W of them, ascending, the first 0.
        labels: int64 (M,), classes of the images.
        patients: int64 (M,), whose image each is.
    """
    means = balanced_mean(losses, labels)
    best = int(np.nanargmin(means))

    def close(number: int) -> bool:
        error = standard_error(losses[number] - losses[best], labels, patients)
        return bool(means[number] - means[best] <= error)

    taken = next(k for k in range(len(weights)) if np.isfinite(means[k]) and (k == best or close(k)))
    gain, error = None, None
    if np.isfinite(means[0]):
        gain = float(means[0] - means[best])
        error = standard_error(losses[0] - losses[best], labels, patients)
    bounded = error if error is not None and math.isfinite(error) else None
    return taken, HomeGuard(weights[taken], weights[best], gain, bounded)
