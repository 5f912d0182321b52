"""Originals: a batch of each class, drawn anew for every outer step and read from the corpus as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
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
    """

    corpus: Corpus
    class_ids: tuple[int, ...]
    batch: int
    normalisation: Normalisation
    seed: int
    device: torch.device

    @cached_property
    def _rows(self) -> dict[int, np.ndarray]:
        """Training rows of each class."""
        train = self.corpus.rows("train")
        return {c: train[self.corpus.labels[train] == c] for c in self.class_ids}

    @property
    def count(self) -> int:
        """How many are drawn for an outer step."""
        return sum(min(self.batch, len(rows)) for rows in self._rows.values())

    def draw(self, iteration: int, shown: Int[Tensor, " M"], number: int = 0) -> LabelledImages:
        """Draw the batches of an outer iteration, without repeats, class by class.

        Args:
            iteration: finished outer steps.
            shown: rows of the distilled images that take part, which are not asked.
            number: which of the draws of this iteration.
        """
        taken = []
        for class_id, rows in self._rows.items():
            rng = generator(self.seed, "originals", iteration, class_id, *([number] if number else []))
            taken.append(rows[torch.randperm(len(rows), generator=rng)[: self.batch].numpy()])
        return LabelledImages.of_corpus(self.corpus, np.concatenate(taken), self.normalisation, self.device)
