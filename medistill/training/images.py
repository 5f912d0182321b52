"""Labelled images on a device: raw ones stay bytes until a batch is asked for, distilled ones are floats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.corpus import Corpus, Split
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation


@dataclass(frozen=True)
class LabelledImages:
    """Images, labels and weights on one device.

    Attributes:
        pixels: uint8 or float32 (N, C, H, W).
        labels: int64 (N,).
        weights: float32 (N,), weight of each image in the loss.
        scale: (1, C, 1, 1) multiplied to uint8 pixels.
        shift: (1, C, 1, 1) added after.
    """

    pixels: Tensor
    labels: Tensor
    weights: Tensor
    scale: Tensor
    shift: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, rows: Tensor | slice) -> Tensor:
        """Normalised float32 (B, C, H, W)."""
        picked = self.pixels[rows]
        return picked if picked.is_floating_point() else picked.float() * self.scale + self.shift

    @classmethod
    def of_floats(cls, images: Tensor, labels: Tensor, weights: Tensor | None = None) -> LabelledImages:
        """Images that are normalised already."""
        one = torch.ones(1, 1, 1, 1, device=images.device)
        return cls(
            images, labels, torch.ones_like(labels, dtype=torch.float32) if weights is None else weights, one, 0 * one
        )

    @classmethod
    def of_corpus(
        cls, corpus: Corpus, rows: np.ndarray, normalisation: Normalisation, device: torch.device
    ) -> LabelledImages:
        """The rows of a corpus, moved to the device once, as bytes."""
        std = torch.tensor(normalisation.std, dtype=torch.float32)
        mean = torch.tensor(normalisation.mean, dtype=torch.float32)
        return cls(
            pixels=torch.from_numpy(corpus.images[rows]).to(device),
            labels=torch.from_numpy(corpus.labels[rows]).to(device),
            weights=torch.ones(len(rows), device=device),
            scale=(1 / (255 * std)).view(1, -1, 1, 1).to(device),
            shift=(-mean / std).view(1, -1, 1, 1).to(device),
        )

    @classmethod
    def of_split(
        cls, corpus: Corpus, split: Split, normalisation: Normalisation, device: torch.device
    ) -> LabelledImages:
        """A split of a corpus, moved to the device once, as bytes."""
        return cls.of_corpus(corpus, corpus.rows(split), normalisation, device)

    @classmethod
    def of_set(cls, distilled: DistilledSet, device: torch.device) -> LabelledImages:
        """A distilled set, its weights honoured."""
        return cls.of_floats(
            torch.from_numpy(distilled.images).to(device),
            torch.from_numpy(distilled.labels).to(device),
            torch.from_numpy(distilled.weights).to(device),
        )
