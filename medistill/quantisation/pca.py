"""Principal components of images, fitted in streamed passes: the encoder-decoder whose squared errors add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from medistill.errors import DataError
from medistill.quantisation.encoder_decoder import CODE, DecoderLayer
from medistill.training.device import precision, sent
from medistill.training.randomness import generator

OVERSAMPLED = 16
"""Directions that are followed beside the components asked for, so that the last of these settle sooner."""
GROWTH = 1e-4
"""Share by which a pass has to raise the variance captured for another to follow."""
MOST_PASSES = 20
"""Passes after which the components are taken as they are."""


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """The affine subspace of P = C x H x W grey values that is nearest to the training images, and a scale.

    Codes are scaled by ``255 / sqrt(P)``: the distance of two is the root mean squared difference of a pixel between
    the images they stand for, in grey levels. The decoder keeps distances, and what the encoder drops is orthogonal
    to what it keeps: the squares of the errors before and after it add up.

    Attributes:
        mean: float32 (P,), in units of full scale.
        basis: float32 (D, P), orthonormal rows, the direction of the largest variance first.
        shape: (C, H, W).
        explained: share of the images' variance in the subspace.
    """

    mean: Tensor = field(repr=False)
    basis: Tensor = field(repr=False)
    shape: tuple[int, int, int]
    explained: float

    @property
    def dimension(self) -> int:
        """Numbers in a code, D."""
        return len(self.basis)

    @property
    def words(self) -> str:
        """What it is, for a reader."""
        return f"{self.dimension} principal component{'' if self.dimension == 1 else 's'}"

    @torch.no_grad()
    def encode(self, grey: Tensor) -> Tensor:
        """Float32 (B, C, H, W) in units of full scale -> codes float32 (B, D) in grey levels a pixel."""
        with precision("fp32", grey.device):
            return (grey.flatten(1) - self.mean) @ self.basis.T * self._scale

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes float32 (B, D) -> float32 (B, C, H, W) in units of full scale, neither clipped nor rounded."""
        with precision("fp32", codes.device):
            return self._decoded(codes)

    def layers(self) -> tuple[DecoderLayer, ...]:
        """The code alone."""
        return (DecoderLayer(CODE, (self.dimension,), self._decoded),)

    def _decoded(self, codes: Tensor) -> Tensor:
        return (self.mean + codes / self._scale @ self.basis).view(-1, *self.shape)

    @property
    def _scale(self) -> float:
        return float(255 / np.sqrt(len(self.mean)))


@torch.no_grad()
def fit_pca(
    images: np.ndarray,
    rows: np.ndarray,
    components: int,
    *,
    batch: int,
    seed: int,
    device: torch.device,
    tick: Callable[[int], object],
) -> PrincipalComponents:
    """Fit principal components by block subspace iteration (Halko, Martinsson, Tropp 2011, arXiv:0909.4061, alg. 4.4).

    One pass takes the mean. Each one after it multiplies an orthonormal block Q by the covariance, C Q, and finds the
    components within Q on the way: the eigenvectors of Q^T C Q (Rayleigh-Ritz). It stops where these capture hardly
    more variance than those of the pass before. Memory: a batch of images as floats, and a few (P, D) blocks.

    Args:
        images: uint8 (N, C, H, W), may be a memory map.
        rows: int64 (n,), those to fit on.
        components: how many, D.
        batch: images that are floats at once.
        seed: of the block that it starts from.
        device: where the arithmetic runs, in float32; sums of squares are float64.
        tick: called with the number of images after every batch: n in all in a pass, of which there are at most
            ``MOST_PASSES + 1``.

    Raises:
        DataError: more components than images or than pixels, or all images are equal.
    """
    shape = images.shape[1:]
    size = int(np.prod(shape))
    _enough(components, len(rows), size)

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(rows), batch):
            some = rows[start : start + batch]
            yield sent(torch.from_numpy(images[some]), device).flatten(1)
            tick(len(some))

    sums, squares = (torch.zeros(shape_of, dtype=torch.float64, device=device) for shape_of in ((size,), ()))
    differ = False
    first = torch.from_numpy(images[rows[:1]]).to(device).flatten()
    for pixels in batches():
        differ = differ or bool((pixels != first).any())
        grey = pixels.float()
        sums += grey.sum(dim=0)
        squares += grey.square_().sum(dtype=torch.float64)
    if not differ:
        raise DataError(
            f"all {len(rows)} training images are equal, so that they have no principal components",
            expected="images that differ",
            do="look at the files, and at how they are shown (data.voi, data.low_percentile, data.high_percentile)",
        )
    mean = sums / len(rows)
    variance, centre = float(squares) / len(rows) - float(mean @ mean), mean.float()

    width = min(components + OVERSAMPLED, len(rows), size)
    ahead, captured = torch.randn(size, width, generator=generator(seed, "pca")).to(device), 0.0
    with precision("fp32", device):
        for _ in range(MOST_PASSES):
            block = torch.linalg.qr(ahead).Q
            ahead = torch.zeros_like(block)
            within = torch.zeros(width, width, dtype=torch.float64, device=device)
            for pixels in batches():
                centred = pixels.float().sub_(centre)
                projected = centred @ block
                within += projected.T @ projected
                ahead += centred.T @ projected
            values, vectors = torch.linalg.eigh(within / len(rows))
            before, captured = captured, float(values[-components:].sum())
            if captured - before <= GROWTH * captured:
                break
        basis = (block @ vectors[:, -components:].flip(1).float()).T
    largest = basis.gather(1, basis.abs().argmax(dim=1, keepdim=True))
    basis = torch.where(largest < 0, -basis, basis).contiguous()
    return PrincipalComponents((mean / 255).float(), basis, shape, min(captured / variance, 1.0))


def _enough(components: int, images: int, values: int) -> None:
    for count, what in ((images, "training images"), (values, "values in an image (channels x height x width)")):
        if components > count:
            raise DataError(
                f"method.quantise.components = {components}, but there are only {count} {what}",
                expected="at most as many principal components as images, and as values in an image",
                do=f"set method.quantise.components={min(images, values)} or less",
            )
