"""Reduced: the originals in every smaller size that is tried, and every window of that size of an image.

A small copy lies somewhere in an image. Of each size the windows at all places are held against the originals drawn in
that size, so that a copy is compared pixel by pixel, wherever it lies and whatever else the image shows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medistill.privacy.likeness import one_channel

SIZES = tuple(k / 32 for k in range(12, 30))
"""Height and width of the copy in those of the image. A smaller one shows too little to tell people apart at the size
at which images are searched; a larger one has not been moved far."""


def sizes_of(height: int, width: int) -> list[tuple[int, int]]:
    """Height and width in pixels of the copies that are sought in images of a size; each once."""
    return sorted({(round(share * height), round(share * width)) for share in SIZES})


def reduced(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (N, C, H, W) averaged over what of their pixels lies under each of the smaller ones: (N, D)."""
    rows, columns = (_under(old, new).to(images) for old, new in zip(images.shape[2:], size, strict=True))
    return (rows @ one_channel(images) @ columns.T).flatten(1)


def windows(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Every window of a size of images (Q, C, H, W): (Q, V, D)."""
    return one_channel(images).unfold(2, size[0], 1).unfold(3, size[1], 1).flatten(1, 3).flatten(2)


def _under(old: int, new: int) -> Tensor:
    """Share of each new pixel that each old one lies under, float64 (new, old)."""
    edges = torch.linspace(0, old, new + 1, dtype=torch.float64)[:, None]
    pixels = torch.arange(old, dtype=torch.float64)
    overlap = torch.minimum(edges[1:], pixels + 1) - torch.maximum(edges[:-1], pixels)
    return overlap.clamp(min=0) * new / old
