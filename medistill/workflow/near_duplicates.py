"""Near duplicates: held-out images that are nearly a training image of somebody else's, and whom an audit leaves out.

Whoever has such an image is probably one person under two names, or had an image given to two. Beside it a copy of the
training image would be no copy, and its patient would count as one who had no part. So nobody is compared with such
people, in anything that an audit asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.corpus import Corpus
from medistill.privacy.likeness import at_working_size
from medistill.progress import Progress, Silent
from medistill.training.images import grey_of

ALIKE = 0.97
"""Correlation, what all images share taken off, from which two images are one. Of 554 held-out radiographs of 32 pixels
one has such a training image, at 0.984, and the next reaches 0.900; of 150 phantoms the nearest reaches 0.935."""
SHARED = 2000
"""Training images, at most, whose mean is what all images share."""
AT_ONCE = 1024
"""Training images that are held against the others at once."""
FULL_SIZE_AT_ONCE = 64
"""Images that are in memory in their own size."""
SHOWN = 10**8
"""Pairs of images from which progress is shown: some seconds."""
FLAT = 1e-6
"""Standard deviation of grey values, in units of full scale, up to which an image shows nothing."""


@dataclass(frozen=True)
class HeldOut:
    """Those whom an audit compares a set with, decided once for all that it asks.

    Attributes:
        rows: int64, ascending, of the validation and test splits, without all images of whoever is left out.
        patients: of these rows.
        left_out: patients of those splits of whom an image is nearly a training image of another.
    """

    rows: np.ndarray
    patients: int
    left_out: int

    @classmethod
    def of(cls, corpus: Corpus, progress: Progress = Silent()) -> HeldOut:
        """From the splits of a corpus."""
        rows = np.sort(np.concatenate([corpus.rows("val"), corpus.rows("test")]))
        gone = np.unique(corpus.groups[rows[nearly_training(corpus, rows, progress)]])
        kept = rows[~np.isin(corpus.groups[rows], gone)]
        return cls(kept, len(np.unique(corpus.groups[kept])), len(gone))


def nearly_training(corpus: Corpus, rows: np.ndarray, progress: Progress = Silent()) -> np.ndarray:
    """Which images correlate by `ALIKE` or more with a training image of another patient, bool (N,).

    Images above 32 pixels are averaged down to that. Copies under a grey curve that is no straight line, turned or
    mirrored are not seen, and an image of one grey value is like none.

    Args:
        corpus: of which all training images are compared.
        rows: (N,) of it.
        progress: told how far it is, where it takes more than seconds.
    """
    train, found = corpus.rows("train"), np.zeros(len(rows), bool)
    if not len(train) or not len(rows):
        return found
    shared = torch.cat([*_standard(corpus, train[:: -(-len(train) // SHARED)])]).mean(dim=0)
    asked = _apart(corpus, rows, shared)
    with ExitStack() as stack:
        shown = progress if len(train) * len(rows) >= SHOWN else Silent()
        task = stack.enter_context(shown.task("Looking for held-out images that are training images", len(train)))
        for start in range(0, len(train), AT_ONCE):
            some = train[start : start + AT_ONCE]
            of, which = torch.nonzero(asked @ _apart(corpus, some, shared).T >= ALIKE, as_tuple=True)
            others = corpus.groups[rows[of.numpy()]] != corpus.groups[some[which.numpy()]]
            found[of.numpy()[others]] = True
            task.advance(len(some))
    return found


def _apart(corpus: Corpus, rows: np.ndarray, shared: Tensor) -> Tensor:
    """Images less what all share, at length 1, but for flat ones, which are 0 (N, D)."""
    found = torch.empty(len(rows), len(shared))
    start = 0
    for some in _standard(corpus, rows):
        apart = torch.nn.functional.normalize(some - shared, dim=1)
        found[start : start + len(some)] = apart.masked_fill((some == 0).all(dim=1, keepdim=True), 0)
        start += len(some)
    return found


def _standard(corpus: Corpus, rows: np.ndarray) -> Iterator[Tensor]:
    """Images as vectors of mean 0 and variance 1, but for flat ones, which are 0 (B, D), some at a time."""
    for start in range(0, len(rows), FULL_SIZE_AT_ONCE):
        grey = grey_of(corpus, rows[start : start + FULL_SIZE_AT_ONCE], torch.device("cpu"))
        flat = at_working_size(grey).flatten(1)
        deviation = flat.std(dim=1, correction=0, keepdim=True)
        yield ((flat - flat.mean(dim=1, keepdim=True)) / deviation).masked_fill(deviation <= FLAT, 0)
