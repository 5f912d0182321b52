"""Labelled images on a device: raw ones stay bytes until a batch is asked for, distilled ones are floats.

On a CPU those of a corpus stay where they are, mapped from its file: a batch is gathered from there, and no memory
grows with their number but that of labels, weights and rows.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus, Split
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.label_kind import LabelKind
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.scratch import scratch
from medistill.artifacts.tiles import enlarged, of_each
from medistill.artifacts.whitening import ROWS, Whitening
from medistill.training.device import sent
from medistill.training.squared_error import mean_squares, squared_errors

SENT = 64 * 2**20
"""Bytes that are read and sent to a device at once."""


@dataclass(frozen=True)
class LabelledImages:
    """Images, labels and weights on one device.

    Attributes:
        pixels: uint8 or float32 (N, C, H, W), or features (N, D); or (M, ...), those of a whole corpus, of which
            ``rows`` says which the images are.
        labels: int64 (N,).
        weights: float32 (N,), weight of each image in the loss.
        scale: (1, C, 1, 1) multiplied to uint8 pixels.
        shift: (1, C, 1, 1) added after.
        soft_labels: float32 (N, classes), probabilities or values to train on in place of ``labels``; or target vectors
            (N, width), to pretrain on.
        label_kind: what soft labels are.
        stage: int64 (N,), when each image joins the training; None is all at once.
        origin: the corpus and the rows of it that these are; None where they come from elsewhere.
        rows: int64 (N,), which of ``pixels`` these are; None where they are all of them, in their order.
    """

    pixels: Tensor
    labels: Tensor
    weights: Tensor
    scale: Tensor
    shift: Tensor
    soft_labels: Tensor | None = None
    label_kind: LabelKind = "probabilities"
    stage: Tensor | None = None
    origin: tuple[Corpus, np.ndarray] | None = None
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def stored(self, rows: Tensor | slice) -> Tensor:
        """Some of the images as they are stored: bytes, floats, or features in float16 or float32."""
        return self.pixels[rows if self.rows is None else self.rows[rows]]

    def batch(self, rows: Tensor | slice) -> Tensor:
        """Normalised float32 (B, C, H, W); of features, which an encoder saw, float32 (B, D)."""
        picked = self.stored(rows)
        if picked.dtype == torch.float16:
            return picked.float()
        return picked if picked.is_floating_point() else picked.float() * self.scale + self.shift

    def grey(self, rows: Tensor | slice) -> Tensor:
        """Grey values float32 (B, C, H, W) in units of full scale; the images must not be whitened."""
        picked = self.stored(rows)
        if picked.is_floating_point():
            return (picked - self.shift) / (255 * self.scale)
        return picked.float() / 255

    @property
    def by_values(self) -> bool:
        """Whether networks are trained on label values, by the squared error."""
        return self.soft_labels is not None and self.label_kind == "values"

    @property
    def by_targets(self) -> bool:
        """Whether networks are pretrained on target vectors (`medistill.training.pretraining`)."""
        return self.soft_labels is not None and self.label_kind == "targets"

    def losses(self, logits: Tensor, rows: Tensor) -> Tensor:
        """What a network's answers (B, classes) to some of the images lose, (B,), without the images' weights.

        It is the cross-entropy with the class or the probabilities, half the squared distance from label values, or the
        mean of the squared distances from the numbers of target vectors.
        """
        if self.soft_labels is None:
            return F.cross_entropy(logits, self.labels[rows], reduction="none")
        targets = self.soft_labels[rows]
        if self.by_targets:
            return mean_squares(logits, targets)
        return squared_errors(logits, targets) if self.by_values else F.cross_entropy(logits, targets, reduction="none")

    def normalised_by(self, normalisation: Normalisation) -> LabelledImages:
        """Return the same floats, of which it is now known how they were normalised, and so which grey values they
        are."""
        scale, shift = _scale_and_shift(normalisation, self.pixels.device)
        return replace(self, scale=scale, shift=shift)

    def cut(self, tiles: int) -> LabelledImages:
        """Return the images that these give as stored ones: the tiles of each, enlarged, with its label, weight and
        stage (`medistill.artifacts.tiles`)."""
        if tiles == 1:
            return self
        soft, stage = self.soft_labels, self.stage
        return replace(
            self,
            pixels=enlarged(self.pixels, tiles),
            labels=of_each(self.labels, tiles),
            weights=of_each(self.weights, tiles),
            soft_labels=None if soft is None else of_each(soft, tiles),
            stage=None if stage is None else of_each(stage, tiles),
            origin=None,
        )

    def stages(self) -> list[Tensor]:
        """The rows to train on in each stage: those of the stage and of all before it."""
        if self.stage is None:
            return [torch.arange(len(self), device=self.labels.device)]
        stage, device = self.stage.cpu(), self.labels.device  # one wait for the device, not one a stage
        return [sent(torch.nonzero(stage <= last).flatten(), device) for last in stage.unique().tolist()]

    @classmethod
    def of_floats(
        cls,
        images: Tensor,
        labels: Tensor,
        weights: Tensor | None = None,
        *,
        soft_labels: Tensor | None = None,
        label_kind: LabelKind = "probabilities",
        stage: Tensor | None = None,
        normalisation: Normalisation | None = None,
    ) -> LabelledImages:
        """Images that are normalised already, in the way of ``normalisation``; without it their grey values are not
        known."""
        weights = torch.ones_like(labels, dtype=torch.float32) if weights is None else weights
        if normalisation is None:
            scale = shift = torch.full((1, 1, 1, 1), float("nan"), device=images.device)
        else:
            scale, shift = _scale_and_shift(normalisation, images.device)
        return cls(images, labels, weights, scale, shift, soft_labels=soft_labels, label_kind=label_kind, stage=stage)

    @classmethod
    def of_corpus(
        cls, corpus: Corpus, rows: np.ndarray, normalisation: Normalisation, device: torch.device
    ) -> LabelledImages:
        """The rows of a corpus, where they lie, or moved to the device once where it is another than the CPU: as bytes,
        or whitened, which takes four times the room.

        Whitening each batch anew would take .4 to .9 ms an image of 3 x 32 x 32 (a CPU thread, batches of 256 to 12
        images) beside the 2 ms in which a ConvNet of width 128 learns from it; here it is .4 ms, once. Many that are
        whitened lie in a file (`medistill.artifacts.scratch`).
        """
        scale, shift = _scale_and_shift(normalisation, device)
        pixels, at = on_device(corpus.images, rows, device)
        grey = cls(
            pixels=pixels,
            labels=sent(torch.from_numpy(corpus.labels[rows]), device),
            weights=torch.ones(len(rows), device=device),
            scale=scale,
            shift=shift,
            origin=(corpus, rows),
            rows=at,
        )
        if normalisation.whitening is None:
            return grey
        return cls.of_floats(_whitened(grey, normalisation.whitening), grey.labels)

    @classmethod
    def of_split(
        cls, corpus: Corpus, split: Split, normalisation: Normalisation, device: torch.device
    ) -> LabelledImages:
        """A split of a corpus, likewise."""
        return cls.of_corpus(corpus, corpus.rows(split), normalisation, device)

    @classmethod
    def of_set(cls, distilled: DistilledSet, device: torch.device) -> LabelledImages:
        """A distilled set, its tiles, weights, soft labels and stages honoured."""
        soft = distilled.soft_labels
        return cls.of_floats(
            torch.from_numpy(distilled.images).to(device),
            torch.from_numpy(distilled.labels).to(device),
            torch.from_numpy(distilled.weights).to(device),
            soft_labels=None if soft is None else torch.from_numpy(soft).to(device),
            label_kind=distilled.label_kind,
            stage=torch.from_numpy(distilled.stage).to(device),
            normalisation=distilled.normalisation,
        ).cut(distilled.tiles)


def _scale_and_shift(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what bytes are multiplied by, and what is then added, (1, C, 1, 1) each."""
    std = torch.tensor(normalisation.std, dtype=torch.float32)
    mean = torch.tensor(normalisation.mean, dtype=torch.float32)
    return sent((1 / (255 * std)).view(1, -1, 1, 1), device), sent((-mean / std).view(1, -1, 1, 1), device)


def on_device(stored: np.ndarray, rows: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return some rows of an array that is mapped from a file, as `LabelledImages.pixels` and its ``rows``.

    On a CPU they stay where they are. Another device gets them in pieces, so that the host never holds them all.

    Args:
        stored: (M, ...), which nobody changes.
        rows: int64 (N,).
        device: where they are to be.
    """
    if device.type == "cpu":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            return torch.from_numpy(stored), torch.from_numpy(np.ascontiguousarray(rows))
    return sent_in_pieces(stored, rows, device), None


def sent_in_pieces(stored: np.ndarray, rows: np.ndarray, device: torch.device) -> Tensor:
    """Return some rows of an array on a device; `SENT` bytes of them are read at once."""
    each = max(1, SENT // max(1, stored.itemsize * math.prod(stored.shape[1:])))
    pieces = (sent(torch.from_numpy(stored[rows[at : at + each]]), device) for at in range(0, max(1, len(rows)), each))
    first = next(pieces)
    if len(first) == len(rows):
        return first
    moved = torch.empty((len(rows), *stored.shape[1:]), dtype=first.dtype, device=device)
    moved[:each] = first
    for number, piece in enumerate(pieces, start=1):
        moved[number * each : (number + 1) * each] = piece
    return moved


def _whitened(grey: LabelledImages, whitening: Whitening) -> Tensor:
    """Float32 (N, C, H, W) of all images, whitened on their device."""
    device, shape = grey.pixels.device, (len(grey), *grey.pixels.shape[1:])
    mean, matrix = torch.from_numpy(whitening.mean).to(device), torch.from_numpy(whitening.matrix).to(device)
    on_cpu = device.type == "cpu"
    whitened = torch.from_numpy(scratch(shape, np.float32)) if on_cpu else torch.empty(shape, device=device)
    for start in range(0, len(grey), ROWS):
        some = slice(start, start + ROWS)
        torch.mm(grey.batch(some).flatten(1) - mean, matrix, out=whitened[some].flatten(1))
    return whitened


def grey_of(corpus: Corpus, rows: np.ndarray, device: torch.device) -> Tensor:
    """Rows of a corpus as grey values (B, C, H, W) in units of full scale."""
    return sent(torch.from_numpy(np.asarray(corpus.images[rows])), device).float() / 255
