"""Neutral statistics: of what size an encoder's features are, told by images of nothing.

The layers of an encoder give numbers of different sizes, and a probe, a distance or a bound on a norm would hear the
loudest alone. A measure taken from patients would tell of them, and one that is taken from few images is wild where a
feature hardly moves. So the features are centred and scaled, each layer by one number, by what the encoder sees in
smooth random fields, which are drawn the same way everywhere.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.encoders.description import EncoderDescription

FIELDS = 64
GRID = 8
"""Random grey values along a side; between them a field is smooth, as large structures of a radiograph are."""
SIDE = 128
"""Of a field in pixels, where the encoder takes any size."""
SMALLEST_SCALE = 1e-6
DIGITS = 6
"""Significant digits that are kept: machines add in another order, and differ in the last of float64's sixteen."""


def fields(side: int) -> Float[Tensor, "N 1 side side"]:
    """Return smooth random fields of grey values from 0 to 1, float64, the same ones on every machine."""
    drawn = np.random.Generator(np.random.PCG64(0)).random((FIELDS, 1, GRID, GRID), np.float32).astype(np.float64)
    return F.interpolate(torch.from_numpy(drawn), (side, side), mode="bicubic", align_corners=False).clamp(0, 1)


@torch.no_grad()
def neutral_statistics(
    network: nn.Module, description: EncoderDescription, widths: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and scale of an encoder's features, float32 (D,) each.

    Worked out in float64 and rounded, so that whoever makes an encoder of the same weights makes the same file.

    Args:
        network: maps (N, 3, H, W) to (N, D).
        description: of the encoder.
        widths: features of each of its layers, D in all. The scale is the same for all features of a layer: the root of
            their mean variance.
    """
    shown = fields(description.image_size if description.fixed_size else SIDE).expand(-1, 3, -1, -1)
    mean, std = (shown.new_tensor(values).view(1, 3, 1, 1) for values in (description.mean, description.std))
    exact = deepcopy(network).double()
    seen = torch.cat([exact((some - mean) / std) for some in shown.split(8)])
    variance = seen.var(dim=0, unbiased=False).split(list(widths))
    scale = torch.cat([layer.mean().sqrt().clamp(min=SMALLEST_SCALE).expand(len(layer)) for layer in variance])
    return _rounded(seen.mean(dim=0)), _rounded(scale)


def _rounded(values: Tensor) -> np.ndarray:
    return np.array([float(f"{value:.{DIGITS - 1}e}") for value in values.tolist()], np.float32)
