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
    found = pixels.copy()
    for channel, seen in zip(found, pixels, strict=True):
        count = np.bincount(seen.ravel(), minlength=LEVELS).cumsum()
        darkest = int(count[np.argmax(count > 0)])
        others = seen.size - darkest
        if others:
            levels = (2 * (LEVELS - 1) * np.maximum(count - darkest, 0) + others) // (2 * others)
            channel[:] = levels.astype(np.uint8)[seen]
    return found


class Equalised(MapTransform):
    """The step of the pipeline that equalises images of grey values 0..255, (C, H, W), as they are kept: in 8 bits."""

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """The image, its values whole numbers."""
        done = dict(data)
        for key in self.key_iterator(done):
            done[key] = equalised(np.rint(np.clip(np.asarray(done[key]), 0, LEVELS - 1)).astype(np.uint8))
        return done
