"""Equalisation: the grey values of an image, spread so that each is as frequent as the others, by its own histogram.

It takes off what devices and displays differ in, contrast and brightness, and with it whatever these said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monai.transforms import MapTransform

LEVELS = 256


def equalised(pixels: np.ndarray) -> np.ndarray:
    """Equalise the histogram of each channel of an image, in whole numbers.

    With N pixels, of which c(v) are no brighter than v and c_0 have the darkest value that there is,

        v -> round(255 (c(v) - c_0) / (N - c_0)),  halves upwards

    (Gonzalez, Woods, Digital Image Processing, 3.3, as OpenCV has it). So the darkest value becomes 0 and the brightest
    255, and black bars have no part in where other values go. A channel of one value stays as it is.

    Args:
        pixels: uint8 (C, H, W).

    Returns:
        The same shape and type.
    """
    return equalised_batch(pixels[None])[0]


def equalised_batch(images: np.ndarray) -> np.ndarray:
    """Equalise each image by itself, as `equalised` does, all at once.

    Args:
        images: uint8 (N, C, H, W).

    Returns:
        The same shape and type.
    """
    seen = np.asarray(images).reshape(images.shape[0] * images.shape[1], -1)
    places = seen + LEVELS * np.arange(len(seen))[:, None]
    count = np.bincount(places.ravel(), minlength=LEVELS * len(seen)).reshape(len(seen), LEVELS).cumsum(axis=1)
    darkest = np.take_along_axis(count, (count > 0).argmax(axis=1, keepdims=True), axis=1)
    others = seen.shape[1] - darkest
    spread = (2 * (LEVELS - 1) * np.maximum(count - darkest, 0) + others) // np.maximum(2 * others, 1)
    levels = np.where(others > 0, spread, np.arange(LEVELS)).astype(np.uint8)
    return np.take(levels.ravel(), places).reshape(images.shape)


class Equalised(MapTransform):
    """The step of the pipeline that equalises images of grey values 0..255, (C, H, W), as they are kept: in 8 bits."""

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """The image, its values whole numbers."""
        done = dict(data)
        for key in self.key_iterator(done):
            done[key] = equalised(np.rint(np.clip(np.asarray(done[key]), 0, LEVELS - 1)).astype(np.uint8))
        return done
