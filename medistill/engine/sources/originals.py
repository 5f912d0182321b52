"""Originals: a batch of each class, drawn anew for every outer step and read from the corpus as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.encoders.encoder import Encoder
from medistill.training.encoded import seen_by
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator


@dataclass(frozen=True)
class Originals:
    """A source of training images; of a class with fewer than a batch all are taken.

    Attributes:
        corpus: whose training split it is.
        class_ids: classes of the corpus that are drawn from, ascending.
        batch: of each class.
        normalisation: of what is drawn.
        seed: of the run.
        device: where a batch is put.
        encoder: what sees them; a batch is then of features.
    """

    corpus: Corpus
    class_ids: tuple[int, ...]
    batch: int
    normalisation: Normalisation
    seed: int
    device: torch.device
    encoder: Encoder | None = None

    @cached_property
    def _rows(self) -> dict[int, np.ndarray]:
        """Training rows of each class."""
        train = self.corpus.rows("train")
        return {c: train[self.corpus.labels[train] == c] for c in self.class_ids}

    @property
    def count(self) -> int:
        """How many are drawn for an outer step."""
        return sum(min(self.batch, len(rows)) for rows in self._rows.values())

    @property
    def most(self) -> int:
        """How many are drawn of the class that gives the most."""
        return max(min(self.batch, len(rows)) for rows in self._rows.values())

    def draw(self, iteration: int, shown: Int[Tensor, " M"], number: int = 0) -> LabelledImages:
        """Draw the batches of an outer iteration, without repeats, class by class.

        Args:
            iteration: finished outer steps.
            shown: rows of the distilled images that take part, which are not asked.
            number: which of the draws of this iteration.
        """
        taken = self.rows(iteration, number)
        images = LabelledImages.of_corpus(self.corpus, taken, self.normalisation, self.device)
        return seen_by(self.encoder, images, self.device)

    def rows(self, iteration: int, number: int = 0) -> np.ndarray:
        """Return which rows of the corpus are drawn; arguments as for `draw`."""
        return drawn_rows(self._rows, self.batch, self.seed, "originals", iteration, number)


def drawn_rows(
    of_class: Mapping[int, np.ndarray], batch: int, seed: int, name: str, iteration: int, number: int
) -> np.ndarray:
    """Return up to ``batch`` rows of each class, drawn without repeats, class by class.

    Args:
        of_class: class -> its rows.
        batch: of each class.
        seed: of the run.
        name: of the random numbers.
        iteration: finished outer steps.
        number: which of the draws of this iteration.
    """
    taken = []
    for class_id, rows in of_class.items():
        rng = generator(seed, name, iteration, class_id, *([number] if number else []))
        taken.append(rows[torch.randperm(len(rows), generator=rng)[:batch].numpy()])
    return np.concatenate(taken)
