"""Overlays: what nearly all images of a site share at one place, as a banner or a logo, and whether a set shows it too.

Anatomy is never at quite the same place, so where a pixel stands out from what lies around it by more than that varies
from image to image, somebody drew it there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, uniform_filter

STEADY = 1.0
"""How many of its own standard deviations a pixel must stand out by on average. In 250 radiographs of each of five
sites the most was 0.95 (decision 27)."""
FAINTEST = 8.0
"""Grey levels of 255 that it must stand out by on average."""
CHUNK = 256
"""Images that are read at once."""
PLACES = 15
"""Places in each direction at which an overlay is tried beside its own."""


@dataclass(frozen=True)
class SharedPattern:
    """What the images of a site share.

    Attributes:
        mean: float32 (H, W), grey values 0..255.
        relief: float32 (H, W), mean grey levels by which each pixel stands out from those around it.
        where: bool (H, W), the pixels that belong to an overlay.
    """

    mean: np.ndarray
    relief: np.ndarray
    where: np.ndarray

    def picture(self) -> np.ndarray:
        """The relief to look at, or to read: float32 (1, H, W), 0..255."""
        return np.clip(128 + 2 * self.relief, 0, 255).astype(np.float32)[None]


def shared_pattern(images: np.ndarray, rows: np.ndarray) -> SharedPattern:
    """What rows of uint8 images (N, C, H, W) share."""
    total = squares = grey = np.zeros(images.shape[2:])
    for part in _chunks(images, rows):
        out = relief(part)
        total, squares, grey = total + out.sum(axis=0), squares + (out**2).sum(axis=0), grey + part.sum(axis=0)
    mean = total / len(rows)
    spread = np.sqrt(np.maximum(squares / len(rows) - mean**2, 0)) + 1
    where = (np.abs(mean) >= FAINTEST) & (np.abs(mean) >= STEADY * spread)
    return SharedPattern((grey / len(rows)).astype(np.float32), mean.astype(np.float32), where)


def relief(grey: np.ndarray) -> np.ndarray:
    """How far pixels (N, H, W) stand out from the mean of those around them."""
    window = max(3, min(grey.shape[1:]) // 16)
    return grey - uniform_filter(grey, (0, window, window), mode="reflect")


def likeness(pattern: SharedPattern, grey: np.ndarray) -> tuple[float, float]:
    """How like an image (H, W) is to an overlay in its place, and the share of other places at which it fits as well.

    Returns:
        Pearson's correlation over the overlay and what lies next to it, and that share, the place itself counted in.
    """
    found = relief(grey[None].astype(np.float64))[0]
    near = binary_dilation(pattern.where, iterations=2)
    wanted = pattern.relief[near]
    own = _correlation(wanted, found[near])
    height, width = found.shape
    steps = [(height * i // PLACES, width * j // PLACES) for i in range(PLACES) for j in range(PLACES)]
    elsewhere = [
        _correlation(wanted, np.roll(found, step, axis=(0, 1))[near])
        for step in steps
        if max(min(step[0], height - step[0]) / height, min(step[1], width - step[1]) / width) >= 1 / 8
    ]
    return own, (1 + sum(other >= own for other in elsewhere)) / (1 + len(elsewhere))


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale else 0.0


def _chunks(images: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Rows as float64 grey (B, H, W), a part at a time."""
    for first in range(0, len(rows), CHUNK):
        yield np.asarray(images[rows[first : first + CHUNK]], np.float64).mean(axis=1)
