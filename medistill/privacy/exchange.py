"""Exchange: how sure it is that a training patient is nearer than strangers are, and how sure it would seem by chance.

Of each image its likeness to every patient is known. Those of the held-out patients show what chance gives: their
upper tail is taken for exponential (in Fisher's transform of a correlation, whose tail falls no slower), and from it
follows how many of the training patients would be expected to be as near as the nearest is. The evidence is minus the
logarithm of that number,

    T = k log(1 + x / k) - log(N (k + 1) / (M + 1)),    x = (z_1 - u) / b,

where z_1 belongs to the nearest of N training patients, u is the (k + 1)th largest of M held-out ones, and b the mean
excess of the k that are larger. One patient more lies beyond u with a chance of (k + 1) / (M + 1), and beyond x b above
it with (1 + x / k)^-k, since k b is a sum of k exponentials, drawn as that patient is: the chance counts in that u and
b are of few people.

A set that holds nobody is called a copy at the rate of false alarms that is allowed, or less: an image has to pass both
of two thresholds, since neither is enough.

- What the tail allows. Q e^-t training patients are to be expected by chance to whom an image of Q is as near as t.
  Patients are drawn one by one, whatever images have to do with each other, so that as many as c different patients are
  met at the rate at which a Poisson variable of that mean is c or more.
- What strangers reach. Half of the held-out patients, drawn at random, take the place of the training patients, and
  the other half stays, many times; the threshold lies above what was reached at the rate that is allowed. By itself it
  is passed too often: all draws share the nearest of the held-out patients, and when one training patient in two is
  nearer than that the draws do not show it. Where tails are heavier than exponential, as some people look much alike,
  the first is passed too often, and this one shows it. Held-out patients alone are exchanged, since training patients,
  if they are in the set, would show again.

One image that is a copy is found by the largest T, many that are less clearly so by what a quarter, or half, of the
images reach together. So each of these three has its threshold, and a third of the rate. Where images are compared in
several ways, T spreads more in some than in others: each way is measured by what it reaches in one exchange of ten, and
the largest of them all is held against chance.
"""

from __future__ import annotations

import numpy as np

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
AT_ONCE = 2**21
"""Likenesses of exchanges that are held at once: 16 MiB."""
USUAL = 0.9
"""Share of the exchanges in which a way reaches no more than what it is measured by."""
ROUNDING = 1e-9
"""By how much a number of exchanges may fall short of a whole one."""
CLOSEST = 0.9999
"""Likeness that counts as the largest, so that its transform is finite."""


def evidence(train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """T of each image, (...).

    Args:
        train: (..., N) likeness to each training patient, -1 to 1.
        held_out: (..., M), likewise; M is above `LEAST_TAIL`.
    """
    return _evidence(_transformed(train.max(axis=-1)), train.shape[-1], _transformed(held_out))


def evidence_of_copies(held_out: np.ndarray, patients: int) -> np.ndarray:
    """T of each image, (...), if it were as like as can be to one of so many training patients."""
    return _evidence(_transformed(np.ones(held_out.shape[:-1])), patients, _transformed(held_out))


def _evidence(nearest: np.ndarray, patients: int, held_out: np.ndarray) -> np.ndarray:
    people = held_out.shape[-1]
    tail = min(people - 1, max(LEAST_TAIL, people // TAIL))
    top = -np.partition(-held_out, tail, axis=-1)[..., : tail + 1]
    level = top[..., tail]
    excess = np.maximum((top[..., :tail] - level[..., None]).mean(axis=-1), LEAST_EXCESS)
    farther = np.maximum((nearest - level) / excess, 0)
    return np.asarray(tail * np.log1p(farther / tail) - np.log(patients * (tail + 1) / (people + 1)))


def _transformed(likeness: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(likeness, -CLOSEST, CLOSEST))


def draws(level: float) -> int:
    """How many exchanges show a rate: the fewest of which one in so many, of each threshold, is one."""
    return int(np.ceil(len(TOGETHER) / level - ROUNDING)) - 1


def exchanged(held_out: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """What images reach by chance at every exchange: `reached` of their evidence, (B, W, 3).

    Args:
        held_out: (W, Q, M) likeness to held-out patients, in W ways.
        level: the rate that the `draws` are to show.
    """
    ways, images, people = held_out.shape
    half, found = min(people, MOST_PEOPLE) // 2, []
    drawn = np.stack([rng.permutation(people)[: 2 * half] for _ in range(draws(level))])
    flat = _transformed(held_out.reshape(ways * images, people))
    pieces = min(len(drawn), -(-drawn.size * len(flat) // AT_ONCE))
    for some in np.array_split(drawn, pieces):
        here = flat[:, some]
        told = _evidence(here[..., :half].max(axis=-1), half, here[..., half:])
        found.append(reached(told.reshape(ways, images, len(some)).transpose(2, 0, 1)))
    return np.concatenate(found)


def counts_together(images: int) -> np.ndarray:
    """How many of the images have to reach each threshold, (3,)."""
    return np.array([max(1, int(np.ceil(share * images))) for share in TOGETHER])


def reached(told: np.ndarray) -> np.ndarray:
    """The evidence (..., Q) that any, a quarter and half of the images reach, (..., 3)."""
    return np.asarray(-np.sort(-told, axis=-1)[..., counts_together(told.shape[-1]) - 1])


def thresholds(by_chance: np.ndarray, level: float) -> np.ndarray:
    """What images have to reach in each way, (W, 3), so that few enough of the exchanges do.

    The p-value of a permutation test is (1 + how many draws reach as much) over (1 + how many there are).

    Args:
        by_chance: (B, W, 3), from `exchanged`.
        level: the rate.

    Raises:
        ValueError: too few exchanges to show it.
    """
    allowed = int(np.floor(level / len(TOGETHER) * (len(by_chance) + 1) + ROUNDING)) - 1
    if allowed < 0:
        raise ValueError(f"{len(by_chance)} exchanges cannot show a rate of {level:.4g}, which takes {draws(level)}")
    usual = np.maximum(np.quantile(by_chance, USUAL, axis=0), LEAST_EXCESS)
    together = np.sort((by_chance / usual).max(axis=1), axis=0)[::-1][allowed]
    return np.asarray(np.nextafter(together * usual, np.inf))


def beyond_chance(told: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Which images are surer in which way than strangers are in exchanges, bool (W, Q).

    Args:
        told: (W, Q), evidence.
        asked: (W, 3), from `thresholds`; an image needs the least of those that the images reach, or the first.
    """
    least = [_least_reached(levels, reached(way)) for way, levels in zip(told, asked, strict=True)]
    return np.asarray(told >= np.array(least)[:, None])


def beyond_tail(told: np.ndarray, nearest: np.ndarray, level: float) -> np.ndarray:
    """Which images are surer in which way than the tail allows, bool (W, Q); of a set of nobody any at most at a rate.

    Args:
        told: (W, Q), evidence.
        nearest: int (W, Q), the training patient to whom each is nearest.
        level: the rate.
    """
    from scipy.special import gammaincinv  # here, since whoever reads an audit loads this file

    ways, images = told.shape
    counts = counts_together(images)
    asked, least = np.log(images / gammaincinv(counts, level / (len(TOGETHER) * ways))), []
    for way, patients in zip(told, nearest, strict=True):
        best = np.full(images, -np.inf)
        _, number = np.unique(patients, return_inverse=True)
        np.maximum.at(best, number, way)
        least.append(_least_reached(asked, -np.sort(-best)[counts - 1]))
    return np.asarray(told >= np.array(least)[:, None])


def _least_reached(levels: np.ndarray, found: np.ndarray) -> float:
    passed = levels[found >= levels]
    return float(passed.min() if len(passed) else levels[0])
