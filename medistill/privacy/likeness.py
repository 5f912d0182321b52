"""Likeness to people: how alike images are to each patient of both splits, who is nearest, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from medistill.privacy.copies import NOTHING, Compared
from medistill.privacy.copy_search import AuditSubject, CopySignals
from medistill.privacy.encoder_space import PIECE, pieces
from medistill.privacy.exchange import LEAST_PEOPLE, beyond_chance, beyond_tail, evidence, evidence_of_copies
from medistill.privacy.gathered import gathered

Way = Callable[[Tensor], Tensor]
"""Images (q, C, H, W) -> their likeness to every original (q, N), -1 to 1."""
WORKING_SIDE = 32
"""Height and width above which images are averaged down: what makes a person is seen at this size."""
AT_ONCE = 64
"""Images whose likeness to all originals is held at once, at most."""
LARGEST_BLOCK = 2**23
"""Numbers held at once of one kind, beyond those of one image: 32 MiB in float32."""


@dataclass(frozen=True)
class Originals:
    """The images of both splits as they are searched.

    Attributes:
        grey: float32 (N, C, H, W), training images first.
        rows: int64 (N,), of the corpus.
        people: int64 (N,), patients, numbered from 0.
        of_train: bool (P,), the patient has an image in the training split.
        groups: int64 (P,), the same patients as the corpus numbers them.
    """

    grey: Tensor
    rows: np.ndarray
    people: np.ndarray
    of_train: np.ndarray
    groups: np.ndarray

    @classmethod
    def of(cls, search: CopySignals) -> Originals:
        """Read both splits, in pieces."""
        rows = np.concatenate([search.train, search.held_out])
        grey = gathered((at_working_size(search.read(piece)) for piece in pieces(rows)), len(rows))
        groups, people = np.unique(search.corpus.groups[rows], return_inverse=True)
        of_train = np.zeros(len(groups), bool)
        of_train[people[: len(search.train)]] = True
        return cls(grey, rows, people, of_train, groups)

    def seen(self, of: Callable[[Tensor], Tensor]) -> Tensor:
        """Return what a function makes of all images (N, C, H, W), some at a time: (N, ...)."""
        return gathered((of(some) for some in self.grey.split(PIECE)), len(self.grey))

    @property
    def strangers(self) -> int:
        """Patients who have no image in the training split."""
        return int(np.sum(~self.of_train))

    @property
    def enough(self) -> bool:
        """Whether there are patients enough to tell chance by."""
        return self.strangers >= LEAST_PEOPLE and bool(self.of_train.any())

    @cached_property
    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """The images in the order of their patients, and where each patient begins in it."""
        order = np.argsort(self.people, kind="stable")
        return order, np.searchsorted(self.people[order], np.arange(len(self.groups)))

    def by_person(self, likeness: np.ndarray) -> np.ndarray:
        """(Q, N) -> the largest of each patient (Q, P)."""
        order, starts = self.starts
        return np.asarray(np.maximum.reduceat(likeness[:, order], starts, axis=1))


def at_working_size(images: Tensor) -> Tensor:
    """Images (N, C, H, W), averaged down to `WORKING_SIDE` where they are larger."""
    height, width = images.shape[2:]
    size = (min(height, WORKING_SIDE), min(width, WORKING_SIDE))
    return images if size == (height, width) else torch.nn.functional.interpolate(images, size, mode="area")


def one_channel(images: Tensor) -> Tensor:
    """The mean over the channels of (N, C, H, W): (N, 1, H, W)."""
    return images.mean(dim=1, keepdim=True)


def blurred(images: Tensor, share: float) -> Tensor:
    """The mean channel of images (N, C, H, W) under a Gaussian of this share of the side, (N, 1, H, W)."""
    deviation = share * images.shape[-1]
    reach = min(round(3 * deviation), min(images.shape[2:]) - 1)
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.softmax(-offsets.square() / (2 * deviation**2), dim=0)
    wide = torch.nn.functional.pad(one_channel(images), (reach,) * 4, mode="reflect")
    along = torch.nn.functional.conv2d(wide, kernel[None, None, None])
    return torch.nn.functional.conv2d(along, kernel[None, None, :, None])


@dataclass(frozen=True)
class Likenesses:
    """What is known of Q images in W ways.

    Attributes:
        distances: (2, W, Q), sqrt(2 - 2 r) to the nearest training image and to the nearest held-out one.
        rows: int64 (2, W, Q), of these images in the corpus.
        evidence: (W, Q).
        held_out: (W, Q, M), likeness to each held-out patient.
        nearest: int (W, Q), the training patient who is nearest, numbered among these.
    """

    distances: np.ndarray
    rows: np.ndarray
    evidence: np.ndarray
    held_out: np.ndarray
    nearest: np.ndarray

    def sure(self, asked: np.ndarray, level: float) -> np.ndarray:
        """Which images are surer in which way than chance makes them, bool (W, Q); arguments as in `judged`."""
        return beyond_chance(self.evidence, asked) & beyond_tail(self.evidence, self.nearest, level)

    def of_copies(self, patients: int) -> Likenesses:
        """The same if each image were as like as can be to another one of so many training patients."""
        images = np.broadcast_to(np.arange(self.evidence.shape[1]), self.evidence.shape)
        return replace(self, evidence=evidence_of_copies(self.held_out, patients), nearest=images)

    def judged(self, asked: np.ndarray, level: float, limit: float) -> tuple[Compared, np.ndarray]:
        """Each image in the way in which it is most of a copy, and whether it is one: bool (Q,).

        Args:
            asked: thresholds of the evidence (W, 3), from exchanges.
            level: rate of false alarms.
            limit: ratio of distances of a copy at most.
        """
        ratio = self.distances[0] / np.maximum(self.distances[1], NOTHING)
        sure = self.sure(asked, level)
        way, every = np.where(sure, ratio - ratio.max() - 1, ratio).argmin(axis=0), np.arange(ratio.shape[1])
        unknown = np.full(len(every), np.nan)
        (train, held_out), (of_train, of_held_out) = self.distances[:, way, every], self.rows[:, way, every]
        compared = Compared(train, held_out, of_train, of_held_out, unknown, unknown)
        return compared, sure[way, every] & (compared.ratio <= limit)


def likenesses(subject: AuditSubject, originals: Originals, ways: tuple[Way, ...]) -> Likenesses:
    """Hold the images of a subject against all originals, some at once."""
    grey, parts = at_working_size(subject.grey), []
    step = max(1, min(AT_ONCE, LARGEST_BLOCK // len(originals.rows)))
    for start in range(0, len(grey), step):
        some = slice(start, start + step)
        parts.append(_some(grey[some], subject.own[some], originals, ways))
    return Likenesses(
        np.concatenate([one.distances for one in parts], axis=2),
        np.concatenate([one.rows for one in parts], axis=2),
        np.concatenate([one.evidence for one in parts], axis=1),
        np.concatenate([one.held_out for one in parts], axis=1),
        np.concatenate([one.nearest for one in parts], axis=1),
    )


def _some(grey: Tensor, own: np.ndarray, originals: Originals, ways: tuple[Way, ...]) -> Likenesses:
    images = np.stack([way(grey).cpu().numpy() for way in ways])
    return likenesses_of(images, own, originals)


def likenesses_of(images: np.ndarray, own: np.ndarray, originals: Originals) -> Likenesses:
    """What follows from likeness.

    Args:
        images: (W, Q, N) likeness to every original; what is of an image's own patient is set to the least there is.
        own: (Q,) patient whose images each is not compared with.
        originals: of whom the N are.
    """
    images[:, own[:, None] == originals.groups[originals.people][None]] = -1
    people = np.stack([originals.by_person(one) for one in images])
    train, held_out = people[:, :, originals.of_train], people[:, :, ~originals.of_train]
    told = np.stack([evidence(*both) for both in zip(train, held_out, strict=True)])
    inside = originals.of_train[originals.people]
    nearest = [np.flatnonzero(side)[images[:, :, side].argmax(axis=2)] for side in (inside, ~inside)]
    likest = np.stack([np.take_along_axis(images, at[:, :, None], axis=2)[:, :, 0] for at in nearest])
    distances = np.sqrt(np.maximum(2 - 2 * likest, 0))
    return Likenesses(distances, originals.rows[np.stack(nearest)], told, held_out, train.argmax(axis=2))
