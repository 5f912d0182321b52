"""Region scores: which part of an original shows its class, by how much better a denoiser sees it that is told the
class.

With e of N(0, 1) at the levels v of variance, and e(x_v, c) what the denoiser sees of it, a pixel p of an original x of
class c has

    s(p) = mean over v, draws of e and channels of (e - e(x_v, none))_p^2 - (e - e(x_v, c))_p^2,

the noise error without the class less that with it, and a region the mean of s over its pixels: so Zhong et al. (2024,
arXiv:2412.09959) choose patches with the text of a latent diffusion model, as Siglidis et al. (ECCV 2024,
arXiv:2408.02752) look for what is typical of a label. Both answers are asked under the same noise, which takes out most
of what the draw does to either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from medistill.denoising.denoiser import Denoiser
from medistill.errors import ArtifactError
from medistill.training.device import precision, sent
from medistill.training.randomness import generator


class RegionScorer(Protocol):
    """What tells how much each pixel of an original shows its class."""

    def maps(self, grey: Float[Tensor, "B C H W"], class_id: int, rng: torch.Generator) -> Float[Tensor, "B H W"]:
        """Return a score of each pixel; more is more typical.

        Args:
            grey: originals of one class, 0 to 1.
            class_id: which class of the corpus.
            rng: a CPU generator for this batch alone.
        """


@dataclass(frozen=True, eq=False)
class NoiseErrors:
    """The scorer of this module.

    Attributes:
        denoiser: on the device of the originals.
        conditions: its condition for each class of the corpus.
        draws: of the noise at each level.
    """

    denoiser: Denoiser
    conditions: tuple[int, ...]
    draws: int

    @classmethod
    def of(cls, denoiser: Denoiser, class_names: tuple[str, ...], draws: int) -> NoiseErrors:
        """By the names of a corpus's classes, each of which the denoiser knows."""
        return cls(denoiser, tuple(denoiser.architecture.classes.index(name) for name in class_names), draws)

    @torch.no_grad()
    def maps(self, grey: Float[Tensor, "B C H W"], class_id: int, rng: torch.Generator) -> Float[Tensor, "B H W"]:
        """Return s of each pixel.

        Raises:
            ArtifactError: the denoiser gives numbers that are not finite.
        """
        levels = len(self.denoiser.architecture.noise)
        total = grey.new_zeros(len(grey), *grey.shape[2:])
        for level in range(levels):
            for _ in range(self.draws):
                noise = sent(torch.randn(grey.shape, generator=rng), grey.device).to(grey.dtype)
                pieces = zip(grey.split(self.denoiser.at_once), noise.split(self.denoiser.at_once), strict=True)
                total += torch.cat(
                    [self._difference(some, of, level, self.conditions[class_id]) for some, of in pieces]
                )
        if not bool(torch.isfinite(total).all()):
            raise ArtifactError(
                "the denoiser gives noise that is NaN or infinite",
                expected="finite numbers for every training image",
                do="bring another denoiser (--denoiser), or leave it out: one is trained on the corpus",
            )
        return total / (levels * self.draws)

    def _difference(
        self, grey: Float[Tensor, "B C H W"], noise: Float[Tensor, "B C H W"], level: int, condition: int
    ) -> Float[Tensor, "B H W"]:
        """Return the error without the class less that with it, at one level under one draw."""
        at = torch.full((len(grey),), level, device=grey.device)
        noisy = self.denoiser.noisy(grey, noise, at)
        untold, told = (
            (noise - self.denoiser.predicted(noisy, at, torch.full_like(at, of))).square()
            for of in (self.denoiser.untold, condition)
        )
        return (untold - told).mean(dim=1)


@dataclass(frozen=True)
class Regions:
    """Regions of originals, that of the highest score first, of equal ones that of the first row.

    Attributes:
        scores: float64 (M,).
        rows: int64 (M,), of the corpus.
        top: int64 (M,), first line of pixels.
        left: int64 (M,), first column.
    """

    scores: np.ndarray
    rows: np.ndarray
    top: np.ndarray
    left: np.ndarray

    @classmethod
    def none(cls) -> Regions:
        """No region yet."""
        empty = np.empty(0, np.int64)
        return cls(np.empty(0), empty, empty, empty)

    def __add__(self, other: Regions) -> Regions:
        """Both, in order."""
        scores, rows = np.concatenate([self.scores, other.scores]), np.concatenate([self.rows, other.rows])
        top, left = np.concatenate([self.top, other.top]), np.concatenate([self.left, other.left])
        return Regions(scores, rows, top, left).at(np.lexsort((rows, -scores)))

    def at(self, some: np.ndarray | slice) -> Regions:
        """Some of them."""
        return Regions(self.scores[some], self.rows[some], self.top[some], self.left[some])

    def pixels(self, images: np.ndarray, side: int, batch: int) -> np.ndarray:
        """Uint8 (M, C, side, side), read from images (N, C, H, W), which may be a memory map.

        Args:
            images: of the corpus.
            side: of a region.
            batch: originals that are read at once.
        """
        found = np.empty((len(self.rows), images.shape[1], side, side), np.uint8)
        for start in range(0, len(self.rows), batch):
            some = self.at(slice(start, start + batch))
            views = np.lib.stride_tricks.sliding_window_view(images[some.rows], (side, side), axis=(2, 3))
            found[start : start + batch] = views[np.arange(len(some.rows)), :, some.top, some.left]
        return found


def best_regions(
    scorer: RegionScorer,
    images: np.ndarray,
    rows: np.ndarray,
    class_id: int,
    *,
    side: int,
    most: int,
    batch: int,
    seed: int,
    device: torch.device,
    tick: Callable[[int], object],
) -> Regions:
    """Find the best region of each original of a class, and return the best of these.

    Regions are side x side pixels, a half of that apart both ways. No more than ``most`` are held, whatever the number
    of originals.

    Args:
        scorer: of their pixels.
        images: uint8 (N, C, H, W), may be a memory map.
        rows: int64 (n,), the originals.
        class_id: their class.
        side: of a region, in pixels.
        most: how many to return; all where there are fewer.
        batch: originals that are scored at once.
        seed: of the recipe.
        device: where the scorer runs.
        tick: called with the number of originals after every batch.
    """
    found, step = Regions.none(), max(1, side // 2)
    with precision("fp32", device):
        for start in range(0, len(rows), batch):
            some = rows[start : start + batch]
            grey = sent(torch.from_numpy(images[some]), device).float() / 255
            maps = scorer.maps(grey, class_id, generator(seed, "regions", class_id, start))
            means = avg_pool2d(maps[:, None], side, stride=step)
            scores, at = means.flatten(1).max(dim=1)
            place = at.cpu().numpy()
            here = Regions(
                scores.double().cpu().numpy(),
                some,
                step * (place // means.shape[3]),
                step * (place % means.shape[3]),
            )
            found = (found + here).at(slice(most))
            tick(len(some))
    return found
