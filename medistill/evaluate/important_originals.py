"""Important originals: training images drawn by importance within their class, and what images begin as."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.evaluate.protocol import random_rows
from medistill.evaluate.representatives import class_features, rows_by_class
from medistill.recipe.method import Draw
from medistill.selection.importance import by_distance, by_leverage, draw
from medistill.training.randomness import derive_seed

SCORES: Mapping[Draw, Callable[[np.ndarray], np.ndarray]] = {"leverage": by_leverage, "distance": by_distance}
"""How originals are drawn, where not at random -> what gives each image of a class its probability."""


@dataclass(frozen=True)
class ImportantOriginals:
    """Training images, and the probabilities by which those of each class are drawn.

    Attributes:
        rows: training rows of each class.
        q: (n,) of each class, sum 1.
        per_class: how many images to take of each class.
    """

    rows: tuple[np.ndarray, ...]
    q: tuple[np.ndarray, ...]
    per_class: tuple[int, ...]

    @classmethod
    def of(
        cls, corpus: Corpus, per_class: Sequence[int] | np.ndarray, normalisation: Normalisation, by: Draw
    ) -> ImportantOriginals:
        """Score the training images of every class that is drawn from, by their pixels as k-means sees them.

        Raises:
            DataError: a class has fewer images than are to be taken.
        """
        rows, plain = rows_by_class(corpus, per_class), replace(normalisation, whitening=None)
        with threadpool_limits(1):  # sums, and with them the draw, must not depend on how many threads there are
            q = [
                SCORES[by](class_features(corpus, some, plain)) if wanted else np.zeros(len(some))
                for some, wanted in zip(rows, per_class, strict=True)
            ]
        return cls(tuple(rows), tuple(q), tuple(int(count) for count in per_class))

    def draw(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows, class by class, and the weight of each, float32 with mean 1 in its class: 1 / (m q_i), scaled.

        Args:
            seed: decides the draw.
        """
        rows, weights = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for c, (of_class, q, count) in enumerate(zip(self.rows, self.q, self.per_class, strict=True)):
            if count:
                drawn = draw(q, count, np.random.default_rng(derive_seed(seed, "class", c)))
                rows.append(of_class[drawn.at])
                weights.append((drawn.weights / drawn.weights.mean()).astype(np.float32))
        return np.concatenate(rows), np.concatenate(weights)


def starting_rows(
    corpus: Corpus, per_class: Sequence[int] | np.ndarray, normalisation: Normalisation, by: Draw, seed: int
) -> np.ndarray:
    """Return the rows of the training images that a set begins as, class by class.

    Args:
        corpus: as the method sees it.
        per_class: images of each class.
        normalisation: of the set.
        by: how they are drawn; at random draws what the control arms do not draw.
        seed: of the recipe.

    Raises:
        DataError: a class has fewer training images.
    """
    if by == "random":
        return random_rows(corpus, per_class, seed, -1)
    return ImportantOriginals.of(corpus, per_class, normalisation, by).draw(derive_seed(seed, "start", by))[0]
