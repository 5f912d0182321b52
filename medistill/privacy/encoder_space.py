"""Encoder space: images as the frozen encoder sees them that a set was made for, and distances in it.

What a rendered set holds of its originals are features. So it is there that it may lie too near to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from medistill.privacy.signals import Read

PIECE = 1024
"""Images whose features are worked on at once."""
LEAST_SHRINKAGE = 1e-3
"""Share of the identity in a covariance at least, so that no direction without any variance counts beyond measure."""


@dataclass(frozen=True)
class EncoderSpace:
    """Features, as the encoder gives them.

    Attributes:
        subjects: float32 (Q, D) of each subject of the search for copies: the set, random originals, held-out ones.
        read: rows of the corpus -> the same of these (B, D).
        train: int64 (N,), rows of the training split.
        labels: int64, class of every image of the corpus.
    """

    subjects: tuple[Tensor, ...]
    read: Read
    train: np.ndarray
    labels: np.ndarray

    @cached_property
    def centre(self) -> Tensor:
        """(D,) mean over the training images: what all images share tells none apart."""
        sums = [self.read(piece).double().sum(dim=0) for piece in pieces(self.train)]
        return (torch.stack(sums).sum(dim=0) / len(self.train)).float()

    def directions(self, features: Tensor) -> Tensor:
        """Features (B, D) less that mean, at length 1."""
        return torch.nn.functional.normalize(features - self.centre, dim=1)

    def whitening(self, rows: np.ndarray, share: float | None = None) -> Tensor | None:
        """Return what makes the images of one class vary alike in every direction, (D, D); None where they do not vary.

        With a feature x multiplied by it, |x - y|^2 is the squared Mahalanobis distance under the covariance within
        classes of ``rows``, shrunk towards a multiple of the identity:

            C = (1 - s) S + s m I,  m = tr S / D,  s = (sum_i |x_i|^4 - n |S|^2) / (n^2 |S - m I|^2).

        Args:
            rows: of the corpus; each counts less the mean of its class among them.
            share: s, that of the identity; None is what Ledoit and Wolf (2004) advise, as above.
        """
        labels = self.labels[rows]
        by_class = [rows[labels == label] for label in np.unique(labels)]
        size, device = self.subjects[0].shape[1], self.subjects[0].device
        product, fourth = torch.zeros(size, size, dtype=torch.float64, device=device), 0.0
        for members in by_class:
            mean = torch.stack([self.read(piece).double().sum(dim=0) for piece in pieces(members)]).sum(dim=0)
            for piece in pieces(members):
                centred = self.read(piece).double() - mean / len(members)
                product += centred.T @ centred
                fourth += float(centred.square().sum(dim=1).square().sum())
        covariance = product / max(1, len(rows))
        scale = float(covariance.diagonal().mean())
        if not scale > 0:
            return None
        identity = scale * torch.eye(size, dtype=torch.float64, device=device)
        spread = float((covariance - identity).square().sum())
        noise = (fourth - len(rows) * float(covariance.square().sum())) / len(rows) ** 2
        if share is None:
            share = 1.0 if spread == 0 else min(1.0, max(LEAST_SHRINKAGE, noise / spread))
        factor = torch.linalg.cholesky((1 - share) * covariance + share * identity)
        return torch.linalg.solve_triangular(factor, identity / scale, upper=False).T.float()


def pieces(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Cut rows into pieces of `PIECE` at most."""
    return (rows[start : start + PIECE] for start in range(0, len(rows), PIECE))
