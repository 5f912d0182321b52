"""Near duplicates: held-out images that are nearly a training image of somebody else's, before anything is compared."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.corpus import Corpus
from medistill.privacy.likeness import at_working_size
from medistill.training.images import grey_of

ALIKE = 0.97
"""Correlation, what all images share taken off, from which two images are one. Of 554 held-out radiographs of 32 pixels
one has such a training image, at 0.984, and the next reaches 0.900; of 150 phantoms the nearest reaches 0.935."""
LOOKED_AT = 2000
"""Held-out images that are looked at, evenly over the split: it is to take seconds."""
AT_ONCE = 1024
"""Training images that are held against them at once."""
FULL_SIZE_AT_ONCE = 64
"""Images that are in memory in their own size."""


class NearDuplicates(NamedTuple):
    """Held-out images that are nearly a training image of another patient.

    Attributes:
        found: how many of those that were looked at.
        images: how many were looked at.
    """

    found: int
    images: int


def near_duplicates(corpus: Corpus) -> NearDuplicates:
    """How many held-out images correlate by `ALIKE` or more with a training image of another patient.

    Images above 32 pixels are averaged down to that. Copies under a grey curve that is no straight line, turned or
    mirrored are not seen.
    """
    train, held_out = corpus.rows("train"), np.concatenate([corpus.rows("val"), corpus.rows("test")])
    held_out = held_out[:: max(1, -(-len(held_out) // LOOKED_AT))]
    if not len(train) or not len(held_out):
        return NearDuplicates(0, 0)
    shared = _standard(corpus, train[:: max(1, -(-len(train) // LOOKED_AT))]).mean(dim=0)
    asked, found = _unit(_standard(corpus, held_out) - shared), np.zeros(len(held_out), bool)
    for start in range(0, len(train), AT_ONCE):
        rows = train[start : start + AT_ONCE]
        alike = (asked @ _unit(_standard(corpus, rows) - shared).T >= ALIKE).numpy()
        found |= (alike & (corpus.groups[held_out][:, None] != corpus.groups[rows])).any(axis=1)
    return NearDuplicates(int(found.sum()), len(held_out))


def _standard(corpus: Corpus, rows: np.ndarray) -> Tensor:
    """Images as vectors of mean 0 and variance 1, but for flat ones, which are 0 (N, D)."""
    place, cuts = torch.device("cpu"), range(0, len(rows), FULL_SIZE_AT_ONCE)
    small = [at_working_size(grey_of(corpus, rows[k : k + FULL_SIZE_AT_ONCE], place)) for k in cuts]
    flat = torch.cat(small).flatten(1)
    return (flat - flat.mean(dim=1, keepdim=True)) / flat.std(dim=1, correction=0, keepdim=True).clamp(min=1e-6)


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=1)
