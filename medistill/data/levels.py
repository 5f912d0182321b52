"""Levels: brightness found once for every value that an image stores, instead of once for every pixel.

What display transforms do depends on a pixel's own value and on the smallest and largest of all. So it is done to the
values that occur, 4,096 in 12 bits, and looked up for the nine million pixels that have them: the same numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from pydicom import Dataset

from medistill.data.display_transform import display_values, padded
from medistill.data.remark import Remark
from medistill.data.stored_values import Stored
from medistill.recipe import DataRecipe

MOST_BITS = 16
"""Values of more bits are seldom used twice."""
BLOCK = 1 << 16
"""Pixels whose values are marked at once; so many stay in the processor's cache."""


class Displayed(NamedTuple):
    """What a file shows.

    Attributes:
        pixels: float32 (C, H, W), C 1 or 3.
        padding: bool (H, W), where nothing was seen.
        deep: whether the grey scale has still to be found.
        left_out: what of the header could not be followed.
    """

    pixels: np.ndarray
    padding: np.ndarray
    deep: bool
    left_out: tuple[Remark, ...]


def displayed(stored: Stored, header: Dataset, recipe: DataRecipe) -> Displayed:
    """Brightness of what a file stores, as `display_values` gives it, and where it is padding, as `padded` does.

    Raises:
        RejectedFile: as `display_values`.
    """
    values, bits = stored.values, stored.place.stored
    if values.ndim != 2 or bits > MOST_BITS or values.size < 1 << bits:
        padding = padded(stored, header)
        pixels, deep, left_out = display_values(stored, header, padding, recipe)
        return Displayed(pixels, padding, deep, left_out)
    places = values.ravel() if stored.place.lowest == 0 else values.ravel() - stored.place.lowest
    occurs = np.zeros(1 << bits, bool)
    for start in range(0, places.size, BLOCK):
        occurs[places[start : start + BLOCK]] = True
    levels = replace(stored, values=(np.flatnonzero(occurs) + stored.place.lowest).astype(values.dtype)[None])
    nowhere = padded(levels, header)
    shown, deep, left_out = display_values(levels, header, nowhere, recipe)
    pixels = np.empty((len(shown), *values.shape), np.float32)
    for plane, brightness in zip(pixels, shown[:, 0], strict=True):
        _look_up(brightness, occurs, places, plane.reshape(-1))
    padding = np.zeros(values.shape, bool)
    if nowhere.any():
        _look_up(nowhere[0], occurs, places, padding.reshape(-1))
    return Displayed(pixels, padding, deep, left_out)


def _look_up(found: np.ndarray, occurs: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
    """Write what was found for the values that occur to every pixel that has them."""
    table = np.zeros(len(occurs), found.dtype)
    table[occurs] = found
    torch.index_select(torch.from_numpy(table), 0, torch.from_numpy(places), out=torch.from_numpy(out))
