"""Channels: a number for each channel of an image, beside images on their device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def per_channel(values: Sequence[float], like: Float[Tensor, "N C H W"]) -> Float[Tensor, "1 C 1 1"]:
    """Return a number for each channel, of the type of images and on their device, which is not waited for."""
    return torch.tensor(values, dtype=like.dtype).to(like.device, non_blocking=True).view(1, -1, 1, 1)
