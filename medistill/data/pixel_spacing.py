"""Pixel spacing: how far apart a picture's pixels are down and across, and the same picture with square pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image as Pillow
from pydicom import Dataset

from medistill.data.image import MAX_PIXELS, Image
from medistill.data.remark import MADE_SQUARE, SPACING_UNUSED

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
"""DICOM elements that give it, the first one first that counts: down, then across (PS3.3, 10.7.1.3 and C.7.6.3.1.7)."""
NEARLY = 0.01
"""Pixels that are longer than wide by no more than this share are taken for square: rounding, which nobody sees."""
MOST_OBLONG = 8
"""No pixel of a radiograph is longer than this many times its width; a number beyond it is a mistake or worse."""


def with_square_pixels(image: Image, header: Dataset) -> Image:
    """A DICOM picture with square pixels, by the first element that gives two usable numbers."""
    stated = ""
    for name in SPACINGS:
        try:
            value = header.get(name)
            spacing = [] if value is None or str(value).strip() == "" else [float(one) for one in value]
        except (ValueError, TypeError):
            spacing = [math.nan]
        if _usable(spacing):
            return squared(image, spacing)
        stated = stated or (name if spacing else "")
    if not stated:
        return image
    return image.remarked(SPACING_UNUSED, f"left as it is: its {stated} is no pair of lengths that pixels can have")


def squared(image: Image, spacing: Sequence[float]) -> Image:
    """A picture resampled (linearly) to square pixels; the longer side of its pixels becomes as short as the other.

    Where that would be more than `MAX_PIXELS`, the shorter side becomes as long.

    Args:
        spacing: from one row to the next, and from one column to the next, in any unit; left alone where that is not
            usable.
    """
    if not _usable(spacing) or abs(spacing[0] / spacing[1] - 1) <= NEARLY:
        return image
    height, width = image.padding.shape
    ratio = spacing[0] / spacing[1]
    finer = (round(height * ratio), width) if ratio > 1 else (height, round(width / ratio))
    coarser = (height, max(round(width / ratio), 1)) if ratio > 1 else (max(round(height * ratio), 1), width)
    size = finer if math.prod(finer) <= MAX_PIXELS else coarser
    done = replace(
        image,
        pixels=np.stack([_resampled(plane, size) for plane in image.pixels]),
        padding=_resampled(image.padding.astype(np.float32), size) > 0,
    )
    longer, told = ("high", "wide") if ratio > 1 else ("wide", "high")
    reason = f"its pixels were made square: they were {max(ratio, 1 / ratio):.3g} times as {longer} as {told}"
    return done.remarked(MADE_SQUARE, reason)


def _usable(spacing: Sequence[float]) -> bool:
    if len(spacing) != 2 or not all(math.isfinite(one) and one > 0 for one in spacing):
        return False
    return 1 / MOST_OBLONG <= spacing[0] / spacing[1] <= MOST_OBLONG


def _resampled(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A float32 plane (H, W) at another size (H', W')."""
    return np.asarray(Pillow.fromarray(plane).resize(size[::-1], Pillow.Resampling.BILINEAR))
