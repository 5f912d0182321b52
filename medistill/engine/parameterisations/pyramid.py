"""Pyramid: grey values as the sigmoid of a sum of pictures, from one as large as the image to one a few pixels wide.

    X  =  (sigmoid( sum over l of B up(z[l]) ) - mean) / std

z[l] has the image's side divided by 2^l, up is bilinear interpolation to the full side, and mean and std are the
normalisation. Each level moves by its own Adam, so a step changes coarse shapes as much as single pixels, and what an
encoder asks for does not come out as noise of one pixel (a Laplacian pyramid, as in linear gradient matching,
Cazenavette et al. 2025, arXiv:2511.16674). The sigmoid keeps grey values between 0 and 1, whatever the step and
however many.

B mixes three decorrelated channels into red, green and blue: the square root of the covariance of the colours of
ImageNet, divided by the largest norm of its columns (Olah et al. 2017, doi:10.23915/distill.00007; the figures are of
their library, Lucid). One channel has B = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from medistill.artifacts.channels import per_channel
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.coordinates import Coordinate, Range, UpdateRule, Values, largest_magnitude

LARGEST = 1e4
"""Largest magnitude of any element of a level; the sigmoid is 0 or 1 long before."""
COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""Rows are red, green and blue, columns the decorrelated channels."""


@dataclass(frozen=True)
class Pyramid:
    """Images by the levels of a pyramid, the coordinates ``level_0`` (full side), ``level_1``, ...

    Attributes:
        start: z of each level, (N, C, S / 2^l, S / 2^l), sides rounded up.
        rules: how each level moves.
        normalisation: of the images; without whitening.
    """

    start: Sequence[Float[Tensor, "N C s s"]]
    rules: Sequence[UpdateRule]
    normalisation: Normalisation

    def coordinates(self) -> dict[str, Coordinate]:
        """Return the levels."""
        reach = Range("image_lr", largest_magnitude, LARGEST, "the logits of grey values reach {:.3g}")
        levels = enumerate(zip(self.start, self.rules, strict=True))
        return {
            f"level_{level}": Coordinate(start, rule, reach, per_image=True, averaged=True)
            for level, (start, rule) in levels
        }

    def render(self, values: Values) -> Float[Tensor, "N C H W"]:
        """Return the normalised images."""
        mean, std = (per_channel(each, values["level_0"]) for each in self._moments)
        return (self._grey(values) - mean) / std

    def pullback(self, values: Values, grad_images: Float[Tensor, "N C H W"]) -> dict[str, Tensor]:
        """Return the gradient in each level, by the transpose of the interpolation and the sigmoid's derivative."""
        names = list(self.coordinates())
        with torch.enable_grad():
            levels = {name: values[name].detach().requires_grad_() for name in names}
            found = torch.autograd.grad(self.render(levels), [*levels.values()], grad_images)
        return dict(zip(names, found, strict=True))

    @property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.normalisation.mean, self.normalisation.std

    def _grey(self, values: Values) -> Float[Tensor, "N C H W"]:
        """Return grey values between 0 and 1."""
        size = self.start[0].shape[-2:]
        logits = values["level_0"]
        for level in range(1, len(self.start)):
            logits = logits + F.interpolate(
                values[f"level_{level}"], size=tuple(size), mode="bilinear", align_corners=False
            )
        return torch.sigmoid(_coloured(logits))


def sides(size: int, levels: int) -> list[int]:
    """Return the side of every level of images of ``size`` pixels, the largest first."""
    return [-(-size // 2**level) for level in range(levels)]


def _coloured(channels: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """Mix three decorrelated channels into colours; one channel is grey and stays."""
    if channels.shape[1] != 3:
        return channels
    mixing = channels.new_tensor(COLOURS)
    return torch.einsum("rc,nchw->nrhw", mixing / mixing.norm(dim=0).max(), channels)
