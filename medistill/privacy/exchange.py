"""Exchange: how sure it is that a training patient is nearer than strangers are, and how sure it would seem by chance.

Of each image its likeness to every patient is known. Those of the held-out patients show what chance gives: their
upper tail is taken for exponential (in Fisher's transform of a correlation, whose tail falls no slower), and from it
follows how many of the training patients would be expected to be as near as the nearest is. The evidence is minus the
logarithm of that number,

    T = (z_1 - u) / b - log(N k / M),

where z_1 belongs to the nearest of N training patients, u is the (k + 1)th largest of M held-out ones, and b the mean
excess of the k that are larger.

How large T becomes by chance, over all images and all that was tried of each, is seen where nobody can be a copy: half
of the held-out patients, drawn at random, take the place of the training patients, and the other half stays. The
labels are exchanged many times, and thresholds lie so high that they are passed at the rate of false alarms that is
allowed. Held-out patients alone are exchanged, since training patients, if they are in the set, would show again.

One image that is a copy is found by the largest T, many that are less clearly so by what a quarter, or half, of the
images reach together. So each of these three has its threshold, and a third of the rate. Where images are compared in
several ways, T spreads more in some than in others: each way is measured by what it reaches in one exchange of ten, and
the largest of them all is held against chance.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

DRAWS = 399
"""Exchanges of labels."""
TAIL = 5
"""One in so many of the held-out patients makes up the tail."""
LEAST_TAIL = 5
LEAST_PEOPLE = 20
"""Held-out patients without whom chance cannot be told."""
MOST_PEOPLE = 1000
"""Held-out patients that are exchanged at most, drawn at random."""
LEAST_EXCESS = 1e-3
TOGETHER = (0.0, 0.25, 0.5)
"""Share of the images that reach a threshold together; the first is any one image."""
USUAL = 0.9
"""Share of the exchanges in which a way reaches no more than what it is measured by."""
CLOSEST = 0.9999
"""Likeness that counts as the largest, so that its transform is finite."""


def evidence(train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """T of each image, (Q,).

    Args:
        train: (Q, N) likeness to each training patient, -1 to 1.
        held_out: (Q, M), likewise; M is above `LEAST_TAIL`.
    """
    people = held_out.shape[1]
    tail = min(people - 1, max(LEAST_TAIL, people // TAIL))
    top = -np.partition(-_transformed(held_out), tail, axis=1)[:, : tail + 1]
    level = top[:, tail]
    excess = np.maximum((top[:, :tail] - level[:, None]).mean(axis=1), LEAST_EXCESS)
    nearest = _transformed(train.max(axis=1))
    return np.asarray((nearest - level) / excess - np.log(train.shape[1] * tail / people))


def _transformed(likeness: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(likeness, -CLOSEST, CLOSEST))


def halves(people: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """`DRAWS` times int64 (2, half): who takes the place of the training patients, and who stays held out."""
    half = min(people, MOST_PEOPLE) // 2
    for _ in range(DRAWS):
        yield rng.permutation(people)[: 2 * half].reshape(2, half)


def exchanged(held_out: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What images reach by chance at every exchange: `reached` of their evidence, (`DRAWS`, W, 3).

    Args:
        held_out: (W, Q, M) likeness to held-out patients, in W ways.
    """
    ways, images, people = held_out.shape
    flat = held_out.reshape(ways * images, people)
    found = (evidence(flat[:, drawn[0]], flat[:, drawn[1]]) for drawn in halves(people, rng))
    return np.stack([[reached(way) for way in one.reshape(ways, images)] for one in found])


def reached(told: np.ndarray) -> np.ndarray:
    """The evidence (Q,) that any, a quarter and half of the images reach, (3,)."""
    counts = [max(1, int(np.ceil(share * len(told)))) for share in TOGETHER]
    return np.asarray(np.sort(told)[::-1][np.array(counts) - 1])


def thresholds(by_chance: np.ndarray, level: float) -> np.ndarray:
    """What images have to reach in each way, (W, 3); a set that holds nobody does so in any at most at this rate.

    The p-value of a permutation test is (1 + how many draws reach as much) over (1 + how many there are).

    Args:
        by_chance: (B, W, 3), from `exchanged`.
        level: the rate; where there are too few draws to show it, nothing reaches the thresholds.
    """
    allowed = int(level / len(TOGETHER) * (len(by_chance) + 1)) - 1
    if allowed < 0:
        return np.full(by_chance.shape[1:], np.inf)
    usual = np.maximum(np.quantile(by_chance, USUAL, axis=0), LEAST_EXCESS)
    together = np.sort((by_chance / usual).max(axis=1), axis=0)[::-1][allowed]
    return np.asarray(np.nextafter(together * usual, np.inf))


def beyond_chance(told: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Which images are surer in which way than chance makes them, bool (W, Q).

    Args:
        told: (W, Q), evidence.
        asked: (W, 3), from `thresholds`; an image needs the least of those that the images reach, or the first.
    """
    least = []
    for way, levels in zip(told, asked, strict=True):
        passed = levels[reached(way) >= levels]
        least.append(passed.min() if len(passed) else levels[0])
    return np.asarray(told >= np.array(least)[:, None])
