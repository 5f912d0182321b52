"""Fourier: the characteristic functions of features are matched at random frequencies (NCFM).

With phi the features of a class's augmented images, each divided by its length, and K frequencies t drawn from N(0, I),

    F[k] = mean of exp(i <t[k], phi>)

is the characteristic function of the class at t[k], of which r is that of the originals and s that of the distilled
images. The paper (Wang, Yang, Liu et al. 2025) weighs amplitudes against phases:

    L = sum over classes of  w / K sum over k of sqrt( a (|s| - |r|)^2 + 2 b (|s| |r| - Re s r*) )

Since |s - r|^2 = (|s| - |r|)^2 + 2 (|s| |r| - Re s r*), the root is that of (a - b) (|s| - |r|)^2 + b |s - r|^2, which
loses less to rounding; at a = b = 1/2, as released, it is |s - r| / sqrt 2: random Fourier features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from medistill.engine.objectives.compared_features import ComparedFeatures, Distance, DrawnFeatures, Shared, product
from medistill.training.randomness import generator


@dataclass(frozen=True)
class Fourier(ComparedFeatures):
    """The loss of neural characteristic function matching.

    Attributes:
        frequencies: K; drawn anew for every step, the same for all classes.
        weight: w.
        amplitude: a.
        phase: b.
    """

    frequencies: int = 4096
    weight: float = 300.0
    amplitude: float = 0.5
    phase: float = 0.5

    def distance(self, made: Shared, real: Shared, drawn: DrawnFeatures, micro_batch: int) -> Distance:
        """Take the characteristic functions.

        With g and h the derivatives of L in the real and the imaginary part of s[c], q[n] = <t, phi[n]> and e[n] the
        feature of length 1:

            dL/dq[n]        = sum over c of share[n, c] (h[c] cos q[n] - g[c] sin q[n])
            dL/de[n]        = sum over k of dL/dq[n, k] t[k]
            dL/dphi[n]      = (dL/de[n] - e[n] <e[n], dL/de[n]>) / |phi[n]|
            dL/dshare[n, c] = <g[c], cos q[n]> + <h[c], sin q[n]>
        """
        waves = _Waves(self.frequencies, self.seed, drawn.iteration)
        ours, theirs = waves.means(made, drawn, micro_batch), waves.means(real, drawn, micro_batch)
        loss, slope = self._apart(ours, theirs)
        centre = (ours * slope).sum(dim=(0, 2))

        def gradients(rows: slice, seen: Tensor) -> tuple[Tensor, Tensor]:
            length, unit, cosine, sine = waves.of(seen, made.share.dtype)
            by_wave = [product(made.share[rows], part) for part in slope]
            along_unit = product(by_wave[1] * cosine - by_wave[0] * sine, waves.frequencies(unit))
            across = along_unit - unit * (unit * along_unit).sum(dim=1, keepdim=True)
            along = product(cosine, slope[0].T) + product(sine, slope[1].T) - centre
            return torch.where(length > 0, across / length, 0), along

        return Distance(float(loss), gradients)

    def _apart(
        self, ours: Float[Tensor, "2 classes K"], theirs: Float[Tensor, "2 classes K"]
    ) -> tuple[Tensor, Float[Tensor, "2 classes K"]]:
        """Return L, and its derivatives in the real and the imaginary parts of ours; 0 where the two are alike."""
        size, other = ours.square().sum(dim=0).sqrt(), theirs.square().sum(dim=0).sqrt()
        lean, apart = self.amplitude - self.phase, ours - theirs
        root = (lean * (size - other).square() + self.phase * apart.square().sum(dim=0)).clamp(min=0).sqrt()
        outwards = torch.where(size > 0, ours / size, 0)
        inside = lean * (size - other) * outwards + self.phase * apart
        scale = self.weight / self.frequencies
        return scale * root.sum(), scale * torch.where(root > 0, inside / root, 0)


class _Waves:
    """The frequencies of a step, drawn when it is seen how many features there are.

    Args:
        count: K.
        seed: of the run.
        iteration: finished outer steps.
    """

    def __init__(self, count: int, seed: int, iteration: int) -> None:
        self.count, self._rng = count, generator(seed, "frequencies", iteration)
        self._frequencies: Tensor | None = None

    def frequencies(self, like: Float[Tensor, "B F"]) -> Float[Tensor, "K F"]:
        """Return t for features like these."""
        if self._frequencies is None:
            self._frequencies = torch.randn(self.count, like.shape[1], generator=self._rng).to(like, non_blocking=True)
        return self._frequencies

    def of(self, seen: Float[Tensor, "B F"], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the lengths (B, 1) of features, what they are at length 1, and the cosines and sines (B, K)."""
        seen = seen.to(dtype)
        length = torch.linalg.vector_norm(seen, dim=1, keepdim=True)
        unit = torch.where(length > 0, seen / length, 0)
        turns = product(unit, self.frequencies(unit).T)
        return length, unit, turns.cos(), turns.sin()

    def means(self, shown: Shared, drawn: DrawnFeatures, micro_batch: int) -> Float[Tensor, "2 classes K"]:
        """Return the real and the imaginary part of each class's characteristic function."""
        parts = []
        for rows, seen in shown.seen(drawn, micro_batch):
            _, _, cosine, sine = self.of(seen, shown.share.dtype)
            parts.append(torch.stack([product(shown.share[rows].T, part) for part in (cosine, sine)]))
        return torch.stack(parts).sum(dim=0)
