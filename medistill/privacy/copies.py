"""Copies: whether an image lies nearer to a training image than images of other patients do, in three spaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics.regression import compute_ssim_and_cs
from torch import Tensor

from medistill.evaluate.intervals import Estimate
from medistill.privacy.signals import Read

SHIFT = 1
"""Pixels by which an image may be shifted either way before it is compared."""
SHORTLIST = 8
"""Nearest images of each split by pixels among which the nearest by structural similarity is sought."""
REFERENCE_QUANTILE = 0.01
"""Share of real images of other patients that the rule for copies lets pass for copies at most."""
LARGEST_BLOCK = 2**24
"""Numbers held at once of one kind: 64 MiB in float32."""
NOTHING = 5e-3
"""Distance below which two images of length 1 are the same: their product is then off 1 by rounding, 1e-5 at most."""


def windows(images: Tensor) -> Tensor:
    """Every shift of images (N, C, H, W) by up to `SHIFT` pixels: (N, (2 SHIFT + 1)^2, C, H - 2 SHIFT, W - 2 SHIFT)."""
    height, width = images.shape[2] - 2 * SHIFT, images.shape[3] - 2 * SHIFT
    starts = range(2 * SHIFT + 1)
    return torch.stack([images[:, :, y : y + height, x : x + width] for y in starts for x in starts], dim=1)


def crops(images: Tensor) -> Tensor:
    """The middle of images (N, C, H, W): what `windows` are compared with."""
    return images[:, :, SHIFT : images.shape[2] - SHIFT, SHIFT : images.shape[3] - SHIFT]


def contrast_normalised(rows: Tensor) -> Tensor:
    """(..., D) -> mean 0 and length 1, so that a product of two is their correlation; a constant row becomes zeros."""
    centred = rows.float() - rows.float().mean(dim=-1, keepdim=True)
    return torch.nn.functional.normalize(centred, dim=-1)


@dataclass(frozen=True)
class Nearest:
    """The images of one split that are nearest to each of Q queries, the nearest first.

    Attributes:
        similarity: (Q, K), the product of the unit vectors at the best of the query's variants.
        rows: (Q, K), rows of the corpus; -1 where there are fewer.
        variants: (Q, K), which variant (shift) of the query that is.
        above: (Q,), how many images of the split are nearer than the ``level`` that was asked for; else zeros.
    """

    similarity: np.ndarray
    rows: np.ndarray
    variants: np.ndarray
    above: np.ndarray

    @property
    def distance(self) -> np.ndarray:
        """(Q,) Euclidean distance of the nearest: |a - b|^2 = 2 - 2 ab for unit vectors; infinite where there is none.

        With contrast-normalised pixels it is the L2 distance after contrast normalisation, and rises as the
        correlation falls: the two are one measure.
        """
        return np.sqrt(np.maximum(2 - 2 * self.similarity[:, 0], 0))


def nearest(
    queries: Tensor,
    rows: np.ndarray,
    read: Read,
    *,
    groups: np.ndarray | None = None,
    own: np.ndarray | None = None,
    level: np.ndarray | None = None,
) -> Nearest:
    """Compare queries with images of a corpus in blocks of matrix products.

    Args:
        queries: (Q, V, D), V variants of each, at length 1.
        rows: (N,), of the corpus.
        read: rows -> unit vectors (B, D).
        groups: (N,), patient of each of ``rows``.
        own: (Q,), patient whose images a query is not compared with; -1 is nobody.
        level: (Q,), similarity above which images are counted.
    """
    count, variants, size = queries.shape
    flat, device = queries.flatten(0, 1), queries.device
    best = torch.full((count, SHORTLIST), -torch.inf, device=device)
    where = torch.full((count, SHORTLIST), -1, dtype=torch.long, device=device)
    shift, above = torch.zeros_like(where), torch.zeros(count, dtype=torch.long, device=device)
    for block in _blocks(len(rows), size + count * variants):
        vectors = read(rows[block])
        similarity, at = (flat @ vectors.T).view(count, variants, len(vectors)).max(dim=1)
        if own is not None and groups is not None:
            same = torch.from_numpy(own[:, None] == groups[block][None]).to(device)
            similarity = similarity.masked_fill(same, -torch.inf)
        if level is not None:
            above += (similarity > torch.from_numpy(level).to(device)[:, None]).sum(dim=1)
        here = torch.from_numpy(rows[block]).to(device).expand(count, -1)
        here = here.masked_fill(similarity == -torch.inf, -1)
        best, order = torch.cat([best, similarity], dim=1).topk(SHORTLIST, dim=1)
        where = torch.cat([where, here], dim=1).gather(1, order)
        shift = torch.cat([shift, at], dim=1).gather(1, order)
    return Nearest(*(tensor.cpu().numpy() for tensor in (best, where, shift, above)))


def _blocks(count: int, numbers_each: int) -> Iterator[slice]:
    size = max(1, LARGEST_BLOCK // numbers_each)
    return (slice(start, start + size) for start in range(0, count, size))


@dataclass(frozen=True)
class Compared:
    """Queries beside the training images and the held-out ones, in one space.

    Attributes:
        train: (Q,) distance to the nearest training image.
        held_out: (Q,) distance to the nearest held-out image.
        train_rows: (Q,) that training image's row.
        held_out_rows: (Q,) likewise.
        apart: (Q,) distance between these two real images, at the best shift; NaN where one is missing, and in spaces
            where noise on a copy does not add to it: structure and features.
        nearer: (Q,) probability that the nearest training image is nearer than the nearest held-out one where equally
            many of both are drawn, over all such draws; NaN where it was not worked out.
    """

    train: np.ndarray
    held_out: np.ndarray
    train_rows: np.ndarray
    held_out_rows: np.ndarray
    apart: np.ndarray
    nearer: np.ndarray

    @property
    def ratio(self) -> np.ndarray:
        """(Q,) distance to the training image in units of that to the held-out one, less what is like neither of them.

        Whatever a query has that neither real image has, such as noise on a copy, adds as much to both squared
        distances t^2 and h^2 and moves their ratio to 1. With a the distance between the two real images that part is
        (t^2 + h^2 - a^2) / 2, by which the ratio without it is

            sqrt((a^2 + t^2 - h^2) / (a^2 + h^2 - t^2)),

        0 for a copy under any noise that is like no image, and t / h where there is none. t / h where a is not known;
        1 where there is nothing to tell by.
        """
        with np.errstate(invalid="ignore"):
            gap = self.held_out**2 - self.train**2
            line = np.sqrt(np.maximum(self.apart**2 - gap, 0) / np.maximum(self.apart**2 + gap, NOTHING**2))
            found = np.where(np.isnan(self.apart), self.train / np.maximum(self.held_out, NOTHING), line)
        return np.where(self.train < NOTHING, 0.0, np.where(np.isfinite(gap), found, 1.0))

    def part(self, queries: slice) -> Compared:
        """Some of the queries."""
        return Compared(*(getattr(self, name)[queries] for name in self.__dataclass_fields__))


def compare_in(
    queries: Tensor,
    train: np.ndarray,
    held_out: np.ndarray,
    read: Read,
    groups: np.ndarray,
    own: np.ndarray,
    read_shifted: Read | None = None,
) -> tuple[Compared, Nearest, Nearest]:
    """Compare queries (Q, V, D) with both splits of a corpus by correlation, or by the cosine of features.

    Args:
        groups: (N,), patient of every image of the corpus.
        own: (Q,), patient of each query, with whose images it is not compared; -1 where it has none.
        read_shifted: rows -> (B, V, D), every shift of each, which `Compared.apart` needs. Left out for features: what
            a network makes of noise on a copy does not add to what it makes of the copy.
    """
    found: dict[bool, Nearest] = {}
    level = None
    for is_train in sorted((True, False), key=lambda is_train: len(train if is_train else held_out)):
        rows = train if is_train else held_out
        found[is_train] = nearest(queries, rows, read, groups=groups[rows], own=own, level=level)
        level = found[is_train].similarity[:, 0]
    inside, outside = found[True], found[False]
    if len(train) >= len(held_out):
        nearer = drawn_above(inside.above, len(train), len(held_out))
    else:
        nearer = 1 - drawn_above(outside.above, len(held_out), len(train))
    of_train, of_held_out = inside.rows[:, 0], outside.rows[:, 0]
    apart = np.full(len(queries), np.nan)
    if read_shifted is not None:
        known = np.flatnonzero((of_train >= 0) & (of_held_out >= 0))
        for block in _blocks(len(known), queries[0].numel()):
            at = known[block]
            product = (read_shifted(of_train[at]) @ read(of_held_out[at])[:, :, None]).flatten(1).amax(dim=1)
            apart[at] = (2 - 2 * product).clamp(min=0).sqrt().cpu().numpy()
    return Compared(inside.distance, outside.distance, of_train, of_held_out, apart, nearer), inside, outside


def drawn_above(above: np.ndarray, count: int, drawn: int) -> np.ndarray:
    """Probability that a draw without replacement holds at least one of those above a level.

    Of ``count`` images k lie above it, and m are drawn: 1 - C(count - k, m) / C(count, m).
    """
    numbers = np.arange(drawn)
    left = [np.prod(np.maximum(count - k - numbers, 0) / (count - numbers)) for k in above]
    return 1 - np.array(left, float)


def compare_structure(images: Tensor, inside: Nearest, outside: Nearest, pixels: Read) -> Compared:
    """Compare images with the nearest of each split by structural similarity (Wang 2004), at the best shift.

    The distance is sqrt(1 - SSIM). Each image is first brought to mean 1/2 and deviation 1/4, within a range of 1.

    Args:
        images: (Q, C, H, W) grey values.
        inside: the nearest training images by pixels, of which the nearest in structure is taken.
        outside: the same of the held-out images.
        pixels: rows of the corpus -> grey values (B, C, H, W).
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for split in (inside, outside):
        similarity = np.full(split.rows.shape, -np.inf)
        queries, places = np.nonzero(split.rows >= 0)
        for block in _blocks(len(queries), images[0].numel() * (2 * SHIFT + 1) ** 2):
            some, at = queries[block], places[block]
            shifted = windows(images[torch.from_numpy(some).to(images.device)])
            mine = shifted[np.arange(len(some)), split.variants[some, at]]
            similarity[some, at] = _ssim(mine, crops(pixels(split.rows[some, at]))).cpu().numpy()
        best = similarity.argmax(axis=1)
        every = np.arange(len(best))
        found.append((np.sqrt(np.maximum(1 - similarity[every, best], 0)), split.rows[every, best]))
    (train, train_rows), (held_out, held_out_rows) = found
    unknown = np.full(len(images), np.nan)
    return Compared(train, held_out, train_rows, held_out_rows, unknown, unknown)


def _ssim(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean structural similarity (B,) of two batches (B, C, h, w) after contrast normalisation."""
    side = min(11, *(edge - 1 + edge % 2 for edge in ours.shape[2:]))
    deviations = np.sqrt(ours[0].numel())
    level = [(contrast_normalised(of.flatten(1)) * deviations / 4 + 0.5).view_as(of) for of in (ours, theirs)]
    similarity, _ = compute_ssim_and_cs(*level, 2, (side, side), (1.5, 1.5), data_range=1.0)
    return similarity.flatten(1).mean(dim=1)


@dataclass(frozen=True)
class CopyLimit:
    """At which ratio of distances, and below, an image is a copy.

    Attributes:
        ratio: the limit.
        reference_images: real held-out images that it was held against.
    """

    ratio: float
    reference_images: int


def copy_limit(reference: np.ndarray, copy_ratio: float) -> CopyLimit:
    """The recipe's limit, or the ratio that `REFERENCE_QUANTILE` of real images of other patients lie at, if lower.

    Where images of different people are much alike, some lie twice as near to a training image as to a held-out one by
    chance; the reference keeps such chance from being called a copy.

    Args:
        reference: (R,), ratios of real held-out images, each compared with images of other patients alone.
        copy_ratio: the recipe's.
    """
    if not len(reference):
        return CopyLimit(copy_ratio, 0)
    return CopyLimit(min(copy_ratio, float(np.quantile(reference, REFERENCE_QUANTILE))), len(reference))


def mean_nearer(nearer: np.ndarray) -> Estimate:
    """The mean of `Compared.nearer`: 1/2 where the set is as near to held-out images as to training images."""
    if not len(nearer) or np.isnan(nearer).any():
        return Estimate.impossible("it is worked out in pixels and in features alone")
    why = "every image and every equal draw was counted; nothing was sampled"
    return Estimate(float(nearer.mean()), reason=why)
