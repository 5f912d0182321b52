"""Encoded originals: a batch of each class as an encoder sees it, drawn anew for every outer step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.engine.sources.originals import drawn_rows
from medistill.training.device import sent


@dataclass(frozen=True)
class EncodedBatch:
    """Features of originals.

    Attributes:
        features: (B, D).
        labels: (B,).
        share: (B,) of each in a mean over them in which every class counts alike; they add up to 1.
    """

    features: Float[Tensor, "B D"]
    labels: Int[Tensor, " B"]
    share: Float[Tensor, " B"]


@dataclass(frozen=True, eq=False)
class EncodedOriginals:
    """A source of features of training images; of a class with fewer than a batch all are taken.

    Attributes:
        features: (N, D) of all images of the corpus, may be a memory map; a batch alone is read.
        labels: int64 (N,).
        rows: int64, of the training images.
        class_ids: classes that are drawn from, ascending.
        batch: of each class.
        seed: of the run.
        device: where a batch is put.
    """

    features: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    class_ids: tuple[int, ...]
    batch: int
    seed: int
    device: torch.device

    @cached_property
    def _rows(self) -> dict[int, np.ndarray]:
        return {c: self.rows[self.labels[self.rows] == c] for c in self.class_ids}

    def draw(self, iteration: int, shown: Int[Tensor, " M"], number: int = 0) -> EncodedBatch:
        """Draw the batches of an outer iteration, without repeats, class by class.

        Args:
            iteration: finished outer steps.
            shown: rows of the distilled images that take part, which are not asked.
            number: which of the draws of this iteration.
        """
        at = drawn_rows(self._rows, self.batch, self.seed, "encoded originals", iteration, number)
        features = sent(torch.from_numpy(self.features[at]), self.device).double()
        labels = sent(torch.from_numpy(self.labels[at]), self.device)
        return EncodedBatch(features, labels, class_shares(labels))


def class_shares(labels: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Return of each row its share in a mean in which every class that is there counts alike, float64."""
    counts = torch.bincount(labels)
    return 1 / (counts[labels] * (counts > 0).sum()).double()
