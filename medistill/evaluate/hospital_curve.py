r"""Small hospital: how many of its own patients the sets of other sites are worth.

Of n patients, drawn several times, networks learn alone and beside what others sent. The area under the ROC curve alone
is a curve over n, the means over the draws made monotone by isotonic regression and straight between its points over
log n. With the others' sets the area at n lies on that curve at some n': as good as n' patients alone. Patients of the
test split and draws are resampled together, and each resample gives a curve and an n' of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medistill.evaluate.arm import Rankings
from medistill.evaluate.intervals import Estimate, number_groups, percentile_estimate, resamples
from medistill.evaluate.predictions import ArmPredictions, Truth
from medistill.recipe import EvaluateRecipe


@dataclass(frozen=True)
class AsGoodAs:
    """Own patients who alone would be as good; None is more than the curve reaches.

    Attributes:
        patients: n', at least the smallest number of the curve.
        low: lower limit of the interval.
        high: upper limit.
    """

    patients: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class CurvePoint:
    """The hospital with so many of its patients, at one place of testing.

    Attributes:
        patients: n.
        alone: macro AUC of networks that learnt from them alone, mean over the draws.
        together: the same beside the sets of the other sites.
        gain: ``together`` minus ``alone``, paired.
        as_good_as: patients who alone would be as good as ``together``.
        weight: of an image that was sent, the median over the draws.
        aside: draws in which the guard for home lets nothing pass that was sent, whether or not it is obeyed.
    """

    patients: int
    alone: Estimate
    together: Estimate
    gain: Estimate
    as_good_as: AsGoodAs
    weight: float
    aside: int = 0


@dataclass(frozen=True)
class HospitalCurve:
    """The curve at one place of testing.

    Attributes:
        tested_at: the hospital itself; "" for all sites together.
        points: by the number of patients.
        reason: why there is none; else empty.
    """

    tested_at: str
    points: tuple[CurvePoint, ...]
    reason: str = ""


@dataclass(frozen=True)
class HospitalAnswers:
    """What networks of the small hospital say of the test images.

    Attributes:
        hospital: its site.
        sizes: numbers of patients, K of them, ascending.
        alone: float32 (K, D, N, C), probabilities, for each of D draws.
        together: the same beside the others' sets.
        weights: float64 (K, D), chosen for an image that was sent; 0 leaves them aside.
        guarded: float64 (K, D), those that the guard for home lets pass.
        notes: sizes that were left out, and why.
    """

    hospital: str
    sizes: tuple[int, ...]
    alone: np.ndarray
    together: np.ndarray
    weights: np.ndarray
    guarded: np.ndarray
    notes: tuple[str, ...] = ()


def hospital_curve(
    found: HospitalAnswers,
    test: Truth,
    tested_at: str,
    class_names: Sequence[str],
    recipe: EvaluateRecipe,
    *,
    seed: int,
) -> HospitalCurve:
    """Return the curve on the test patients of a site, or of all.

    Args:
        found: predictions.
        test: what is true of the test images; its trait "site" names the site of each.
        tested_at: the site; "" for all.
        class_names: one a class.
        recipe: replicates, confidence and smallest cell.
        seed: of the resamples.
    """
    sites = np.array(test.traits["site"])
    rows = np.flatnonzero(sites == tested_at) if tested_at else np.arange(len(sites))
    groups, patients = number_groups(test.groups[rows]) if len(rows) else (rows, 0)
    if patients < recipe.smallest_cell:
        return HospitalCurve(tested_at, (), f"fewer than {recipe.smallest_cell} test patients there")
    cases = test.labels[rows] == np.arange(len(class_names))[:, None]
    ranked = [
        [[_ranking(draw[rows], cases, class_names, groups) for draw in size] for size in arm]
        for arm in (found.alone, found.together)
    ]
    if reason := ranked[0][0][0].no_macro:
        return HospitalCurve(tested_at, (), reason)
    areas = _areas(ranked, patients, recipe.bootstrap, seed)  # (2, K, 1 + R)
    return HospitalCurve(tested_at, tuple(_points(found, areas, patients, recipe.confidence)))


def _ranking(test: np.ndarray, cases: np.ndarray, class_names: Sequence[str], groups: np.ndarray) -> Rankings:
    nothing = np.empty((1, 0, test.shape[1]), np.float32)
    arm = ArmPredictions("raw", nothing, test[None], images=0, bytes=0, epochs=0, seconds=0.0)
    return Rankings(arm, cases, class_names, groups)


def _areas(ranked: Sequence[Sequence[Sequence[Rankings]]], patients: int, replicates: int, seed: int) -> np.ndarray:
    """Float64 (2, K, 1 + R): macro AUC, mean over the draws; first of all patients and draws, then of resamples."""
    rng, draws = np.random.default_rng([seed, len(ranked[0])]), len(ranked[0][0])
    shares, parts = [np.full((draws, 1), 1 / draws)], [np.ones((patients, 1), np.float32)]
    for counts in resamples(patients, replicates, rng):
        parts.append(counts)
        shares.append(rng.multinomial(draws, [1 / draws] * draws, size=counts.shape[1]).T / draws)
    return np.array(
        [
            [
                np.concatenate(
                    [
                        np.sum([share[d] * one.macro_auc(one.auc(counts)) for d, one in enumerate(size)], axis=0)
                        for share, counts in zip(shares, parts, strict=True)
                    ]
                )
                for size in arm
            ]
            for arm in ranked
        ]
    )


def _points(found: HospitalAnswers, areas: np.ndarray, patients: int, confidence: float) -> list[CurvePoint]:
    alone, together = areas
    whole = np.isfinite(areas).all(axis=(0, 1))
    curves = [monotone(alone[:, r]) if whole[r] else None for r in range(alone.shape[1])]
    points = []
    for k, size in enumerate(found.sizes):
        equal = [
            np.nan if curve is None else patients_for(together[k, r], found.sizes, curve)
            for r, curve in enumerate(curves)
        ]
        first, second, gain = (
            percentile_estimate(float(of[0]), of[1:], patients=patients, confidence=confidence)
            for of in (alone[k], together[k], together[k] - alone[k])
        )
        as_good_as, weight = _interval(np.array(equal), confidence), float(np.median(found.weights[k]))
        aside = int(np.sum(found.guarded[k] == 0))
        points.append(CurvePoint(size, first, second, gain, as_good_as, weight, aside))
    return points


def monotone(values: np.ndarray) -> np.ndarray:
    """Return the nearest sequence (K,) that never falls, by least squares: neighbours that fall are pooled (Barlow et
    al. 1972)."""
    blocks: list[list[float]] = []  # mean, length
    for value in values:
        blocks.append([float(value), 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            last, before = blocks.pop(), blocks.pop()
            length = last[1] + before[1]
            blocks.append([(last[0] * last[1] + before[0] * before[1]) / length, length])
    return np.repeat([mean for mean, _ in blocks], [int(length) for _, length in blocks])


def patients_for(area: float, sizes: Sequence[int], curve: np.ndarray) -> float:
    """Return the least number of patients at which a curve that never falls reaches an area; infinite where it does
    not, and the smallest number where it always does.

    Args:
        area: to be reached.
        sizes: (K,), ascending.
        curve: (K,), areas there; straight between them over the logarithm of the number.
    """
    if area <= curve[0]:
        return float(sizes[0])
    if area > curve[-1]:
        return math.inf
    k = int(np.searchsorted(curve, area))  # curve[k - 1] < area <= curve[k]
    share = (area - curve[k - 1]) / (curve[k] - curve[k - 1])
    return float(sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** share)


def _interval(equal: np.ndarray, confidence: float) -> AsGoodAs:
    """Percentiles that are numbers of patients of some resample, so that infinite ones keep their place."""
    tail, valid = (1 - confidence) / 2, equal[1:][~np.isnan(equal[1:])]
    low = np.quantile(valid, tail, method="lower") if len(valid) else math.nan
    high = np.quantile(valid, 1 - tail, method="higher") if len(valid) else math.nan
    return AsGoodAs(*(float(one) if np.isfinite(one) else None for one in (equal[0], low, high)))
