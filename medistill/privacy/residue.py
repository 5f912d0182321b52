"""Residue: what is left in an image of the real one that it began as."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medistill.privacy.copies import Read

PIECE = 2048
"""Training images that are compared at once."""


@dataclass(frozen=True)
class Residue:
    """Images beside the real ones that they began as, and beside the others of the class.

    Attributes:
        own: (Q,) correlation with the image that it began as.
        others: (Q,) mean correlation with the other training images of the class.
        as_like: (Q,) how many of these others are at least as like it.
        candidates: (Q,) training images of the class, its own with them.
    """

    own: np.ndarray
    others: np.ndarray
    as_like: np.ndarray
    candidates: np.ndarray

    @property
    def recovered(self) -> np.ndarray:
        """(Q,) bool: of all training images of the class it is most like the one that it began as."""
        return np.asarray(self.as_like == 0)

    @property
    def p_values(self) -> np.ndarray:
        """(Q,) of the permutation test in which every training image of the class may be the one it began as."""
        return np.asarray((1 + self.as_like) / self.candidates)


def residue(
    images: Tensor, labels: np.ndarray, began_as: np.ndarray, rows: np.ndarray, row_labels: np.ndarray, read: Read
) -> Residue:
    """Correlate images with the training images of their class, less the mean of these, which tells none apart.

    Args:
        images: (Q, D) grey values.
        labels: (Q,) classes.
        began_as: (Q,) row of the corpus that each began as; one of ``rows``.
        rows: (N,) training images.
        row_labels: (N,) their classes.
        read: rows -> grey values (B, D).
    """
    own, others, as_like, candidates = (np.zeros(len(labels)) for _ in range(4))
    for label in np.unique(labels):
        of_class, mine = rows[row_labels == label], np.flatnonzero(labels == label)
        pieces = np.array_split(of_class, max(1, len(of_class) // PIECE))
        centre = torch.stack([read(piece).double().sum(dim=0) for piece in pieces]).sum(dim=0) / len(of_class)
        queries = _unit(images[torch.from_numpy(mine).to(images.device)], centre)
        similarity = torch.cat([queries @ _unit(read(piece), centre).T for piece in pieces], dim=1).cpu().numpy()
        at = np.searchsorted(of_class, began_as[mine])
        here = similarity[np.arange(len(mine)), at]
        own[mine] = here
        others[mine] = (similarity.sum(axis=1) - here) / max(1, len(of_class) - 1)
        as_like[mine] = (similarity >= here[:, None]).sum(axis=1) - 1
        candidates[mine] = len(of_class)
    return Residue(own, others, as_like, candidates)


def _unit(rows: Tensor, centre: Tensor) -> Tensor:
    less = rows.double() - centre
    return torch.nn.functional.normalize(less - less.mean(dim=1, keepdim=True), dim=1).float()
