"""Labelled images on a device: raw ones stay bytes until a batch is asked for, distilled ones are floats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.corpus import Corpus, Split
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.whitening import ROWS, Whitening


@dataclass(frozen=True)
class LabelledImages:
    """Images, labels and weights on one device.

    Attributes:
        pixels: uint8 or float32 (N, C, H, W).
        labels: int64 (N,).
        weights: float32 (N,), weight of each image in the loss.
        scale: (1, C, 1, 1) multiplied to uint8 pixels.
        shift: (1, C, 1, 1) added after.
        soft_labels: float32 (N, classes), probabilities to train on in place of ``labels``.
        stage: int64 (N,), when each image joins the training; None is all at once.
    """

    pixels: Tensor
    labels: Tensor
    weights: Tensor
    scale: Tensor
    shift: Tensor
    soft_labels: Tensor | None = None
    stage: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, rows: Tensor | slice) -> Tensor:
        """Normalised float32 (B, C, H, W)."""
        picked = self.pixels[rows]
        return picked if picked.is_floating_point() else picked.float() * self.scale + self.shift

    def stages(self) -> list[Tensor]:
        """The rows to train on in each stage: those of the stage and of all before it."""
        if self.stage is None:
            return [torch.arange(len(self), device=self.labels.device)]
        return [torch.nonzero(self.stage <= last).flatten() for last in self.stage.unique().tolist()]

    @classmethod
    def of_floats(
        cls,
        images: Tensor,
        labels: Tensor,
        weights: Tensor | None = None,
        *,
        soft_labels: Tensor | None = None,
        stage: Tensor | None = None,
    ) -> LabelledImages:
        """Images that are normalised already."""
        one = torch.ones(1, 1, 1, 1, device=images.device)
        weights = torch.ones_like(labels, dtype=torch.float32) if weights is None else weights
        return cls(images, labels, weights, one, 0 * one, soft_labels=soft_labels, stage=stage)

    @classmethod
    def of_corpus(
        cls, corpus: Corpus, rows: np.ndarray, normalisation: Normalisation, device: torch.device
    ) -> LabelledImages:
        """The rows of a corpus, moved to the device once: as bytes, or whitened, which takes four times the memory.

        Whitening each batch anew would take .4 to .9 ms an image of 3 x 32 x 32 (a CPU thread, batches of 256 to 12
        images) beside the 2 ms in which a ConvNet of width 128 learns from it; here it is .4 ms, once.
        """
        std = torch.tensor(normalisation.std, dtype=torch.float32)
        mean = torch.tensor(normalisation.mean, dtype=torch.float32)
        grey = cls(
            pixels=torch.from_numpy(corpus.images[rows]).to(device),
            labels=torch.from_numpy(corpus.labels[rows]).to(device),
            weights=torch.ones(len(rows), device=device),
            scale=(1 / (255 * std)).view(1, -1, 1, 1).to(device),
            shift=(-mean / std).view(1, -1, 1, 1).to(device),
        )
        if normalisation.whitening is None:
            return grey
        return cls.of_floats(_whitened(grey, normalisation.whitening), grey.labels)

    @classmethod
    def of_split(
        cls, corpus: Corpus, split: Split, normalisation: Normalisation, device: torch.device
    ) -> LabelledImages:
        """A split of a corpus, moved to the device once, as bytes."""
        return cls.of_corpus(corpus, corpus.rows(split), normalisation, device)

    @classmethod
    def of_set(cls, distilled: DistilledSet, device: torch.device) -> LabelledImages:
        """A distilled set, its weights, soft labels and stages honoured."""
        soft = distilled.soft_labels
        return cls.of_floats(
            torch.from_numpy(distilled.images).to(device),
            torch.from_numpy(distilled.labels).to(device),
            torch.from_numpy(distilled.weights).to(device),
            soft_labels=None if soft is None else torch.from_numpy(soft).to(device),
            stage=torch.from_numpy(distilled.stage).to(device),
        )


def _whitened(grey: LabelledImages, whitening: Whitening) -> Tensor:
    """Float32 (N, C, H, W) of all images, whitened on their device."""
    device = grey.pixels.device
    mean, matrix = torch.from_numpy(whitening.mean).to(device), torch.from_numpy(whitening.matrix).to(device)
    whitened = torch.empty(grey.pixels.shape, device=device)
    for start in range(0, len(grey), ROWS):
        some = slice(start, start + ROWS)
        torch.mm(grey.batch(some).flatten(1) - mean, matrix, out=whitened[some].flatten(1))
    return whitened


def grey_of(corpus: Corpus, rows: np.ndarray, device: torch.device) -> Tensor:
    """Rows of a corpus as grey values (B, C, H, W) in units of full scale."""
    return torch.from_numpy(np.asarray(corpus.images[rows])).to(device).float() / 255
