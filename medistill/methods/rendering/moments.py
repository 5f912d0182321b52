"""Moments: a few points with the mean of a class, and its covariance along the directions in which it spreads most.

With mu the mean of a class's features, s[j]^2 and u[j] the largest eigenvalues of a covariance and their directions, n
points and k = n // 2 directions:

    mu + sqrt(n / 2) s[j] u[j],   mu - sqrt(n / 2) s[j] u[j]   for j < k,   and mu itself where n is odd

have the mean mu and the covariance sum over j of s[j]^2 u[j] u[j]^T exactly (the sigma points of Julier and Uhlmann
1997, doi:10.1117/12.280797, with equal weights).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from medistill.encoders.features import features_of
from medistill.encoders.layers import PIECE, layer_spread
from medistill.errors import DataError
from medistill.evaluate.representatives import rows_by_class
from medistill.methods.base import Distilled
from medistill.methods.rendering.encoder import encoder_of
from medistill.methods.rendering.render import render
from medistill.quantisation.cells import patients_by_share
from medistill.recipe.rendering import RenderingRecipe
from medistill.training.context import Context
from medistill.training.fitted_normalisation import fitted_normalisation

Covariance = Literal["class", "pooled"]
NOTHING = 1e-10
"""Share of the largest variance below which a direction has none."""
CANDIDATES = 4
"""Directions that are looked at, times those that are asked for: one that few patients make is passed over."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of a class.

    Attributes:
        mean: float64 (D,).
        directions: float64 (k, D), orthonormal, by falling deviation.
        deviations: float64 (k,), above 0.
    """

    mean: np.ndarray
    directions: np.ndarray
    deviations: np.ndarray

    def points(self, count: int, reach: float) -> np.ndarray:
        """Return ``count`` points (count, D); ``reach`` multiplies their distance from the mean, 1 has the covariance.

        Args:
            count: twice as many as there are directions, or one more.
            reach: above 0.
        """
        away = reach * np.sqrt(count / 2) * self.deviations[:, None] * self.directions
        pairs = np.stack([self.mean + away, self.mean - away], axis=1).reshape(-1, len(self.mean))
        return np.concatenate([pairs, self.mean[None]]) if count % 2 else pairs


def rendered_moments(
    context: Context,
    settings: RenderingRecipe,
    *,
    covariance: Covariance,
    reach: float,
    min_patients: int,
    class_ids: Sequence[int],
    origin: Mapping[str, Any],
) -> Distilled:
    """Render images from points with the moments of every class.

    Args:
        context: corpus, recipe, network and device, and the folder of the run.
        settings: of the images and of how they move.
        covariance: of the class, or of all classes about their own means.
        reach: as for `Moments.points`.
        min_patients: fewest patients whom a mean or a direction may be of (`moments`).
        class_ids: classes of the corpus that the set is to hold, ascending.
        origin: what it is made from, for the record of its making.

    Raises:
        RecipeError: the network is no probe.
        DataError: a class has too few patients, or too few directions for so many images.
        DivergedError: the optimisation left the finite numbers; the last good state is kept.
    """
    corpus, encoder, device, progress = context.corpus, encoder_of(context), context.device, context.progress
    least = [2 if c in class_ids else 0 for c in range(len(corpus.class_names))]
    rows = rows_by_class(corpus, least, beside="to be made")
    features = features_of(corpus, encoder, device, progress)
    spread = layer_spread(features, corpus.rows("train"), encoder)
    found = moments(
        features,
        spread,
        {corpus.class_names[c]: rows[c] for c in class_ids},
        corpus.groups,
        settings.ipc // 2,
        covariance=covariance,
        least=min_patients,
    )
    points = np.concatenate([of_class.points(settings.ipc, reach) for of_class in found])
    return render(
        context,
        settings,
        torch.from_numpy(points),
        torch.diag(1 / torch.from_numpy(spread)),
        torch.tensor(class_ids).repeat_interleave(settings.ipc),
        origin,
        normalisation=fitted_normalisation(corpus, context.recipe, progress),
    )


def moments(
    features: np.ndarray,
    spread: np.ndarray,
    rows: Mapping[str, np.ndarray],
    groups: np.ndarray,
    count: int,
    *,
    covariance: Covariance,
    least: int,
) -> list[Moments]:
    """Return mean and directions of each class, of features divided by ``spread``.

    A mean is of (sum n_p)^2 / sum n_p^2 patients, n_p the images of one, and a direction of (sum c_p)^2 / sum c_p^2,
    c_p what the images of one add to the variance along it: so one patient who is far from all others makes none.

    Args:
        features: (N, D), may be a memory map.
        spread: (D,), above 0.
        rows: name of a class -> rows of it.
        groups: int64 (N,), patient of each.
        count: directions that are asked for, k.
        covariance: of the class, or of all classes about their own means.
        least: fewest patients, of a mean and of a direction.

    Raises:
        DataError: a class has fewer patients, or fewer directions of so many.
    """
    import scipy.linalg  # noqa: F401  (a limit holds for the libraries that are loaded by then)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # else the last digits hang on how many threads there are
        means = {name: _mean(features, spread, of_class) for name, of_class in rows.items()}
        for name, of_class in rows.items():
            patients = int(patients_by_share(np.zeros(len(of_class), np.int64), groups[of_class], 1)[0])
            if patients < least:
                raise _too_few(name, f"{patients} training patients by their share of its images", least)
        pooled = _directions(features, spread, means, rows, groups, count, least) if covariance == "pooled" else None
        found = []
        for name, of_class in rows.items():
            own = pooled or _directions(features, spread, means, {name: of_class}, groups, count, least)
            if len(own[1]) < count:
                raise _too_few(name, f"{len(own[1])} directions for {count}", least)
            found.append(Moments(means[name], *own))
    return found


def _mean(features: np.ndarray, spread: np.ndarray, rows: np.ndarray) -> np.ndarray:
    total = np.zeros(len(spread))
    for some in _pieces(rows):
        total += (features[some] / spread).sum(axis=0)
    return total / len(rows)


def _directions(
    features: np.ndarray,
    spread: np.ndarray,
    means: Mapping[str, np.ndarray],
    rows: Mapping[str, np.ndarray],
    groups: np.ndarray,
    count: int,
    least: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions (k, D) of most variance about the classes' means, and the deviations (k,)."""
    from scipy.linalg import eigh

    def apart() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for name, of_class in rows.items():
            for some in _pieces(of_class):
                yield groups[some], features[some] / spread - means[name]

    images, size = sum(map(len, rows.values())), len(spread)
    total = np.zeros((size, size))
    for _, some in apart():
        total += some.T @ some
    most = min(CANDIDATES * count, max(0, images - len(rows)), size)
    if not most:
        return np.empty((0, size)), np.empty(0)
    ascending, columns = eigh(total / images, subset_by_index=[size - most, size - 1])
    spreads = ascending[::-1] > NOTHING * max(ascending[-1], 0)
    values, vectors = ascending[::-1][spreads], columns[:, ::-1][:, spreads]
    if not len(values):
        return np.empty((0, size)), np.empty(0)
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    of_patient: dict[int, np.ndarray] = {}
    for whose, some in apart():
        for patient, squares in zip(whose.tolist(), (some @ vectors) ** 2, strict=True):
            of_patient[patient] = of_patient.get(patient, 0) + squares
    shares = np.array([*of_patient.values()]).reshape(-1, len(values))
    made_by = shares.sum(axis=0) ** 2 / (shares**2).sum(axis=0)
    kept = np.flatnonzero(made_by >= least)[:count]
    return vectors.T[kept], np.sqrt(values[kept])


def _pieces(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + PIECE] for start in range(0, len(rows), PIECE))


def _too_few(name: str, seen: str, least: int) -> DataError:
    return DataError(
        f"class {name} has {seen}",
        expected=f"a mean, and a direction for every two images, that {least} patients or more make",
        do="lower method.ipc, add patients, or take method encoded-ddoq; method.min_patients is the number",
    )
