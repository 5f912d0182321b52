"""Second look: a file's own picture, and what would be masked in it, small enough for a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from medistill.data.burnt_in_text import Reading, find_readings, looking_side, masked
from medistill.recipe import DataRecipe

LONGEST = 512
"""Longer side of a picture, in pixels: text that could be read in an image of a set can be read in it."""


@dataclass(frozen=True)
class SecondLook:
    """A file's pictures.

    Attributes:
        original: uint8 (H, W).
        masked: the same without its text, or None where there was none, or nothing looked.
        finds: the text, in pixels of the file.
        height: of the file, in pixels.
        width: likewise.
    """

    original: np.ndarray
    masked: np.ndarray | None
    finds: tuple[Reading, ...]
    height: int
    width: int


def look_again(path: Path, recipe: DataRecipe) -> SecondLook:
    """Read a file again, whatever its headers and its view, and look for text in it as the recipe does.

    Args:
        recipe: from `resolve_text_policy`.
    """
    from monai.transforms import Compose

    from medistill.data.radiograph import as_seen

    open_to_all = {"view_policy": "keep", "flagged_headers": "tell", "secondary_captures": "tell", "not_chest": "tell"}
    pixels = np.asarray(Compose(as_seen(recipe.model_copy(update=open_to_all)))({"image": str(path)})["image"])
    looked_for = recipe.burnt_in_text != "unchecked"
    finds = find_readings(pixels, side=looking_side(recipe.image_size)) if looked_for else []
    without = masked(pixels, [find.box for find in finds]) if finds else None
    return SecondLook(
        original=_small(pixels),
        masked=None if without is None else _small(without),
        finds=tuple(finds),
        height=pixels.shape[1],
        width=pixels.shape[2],
    )


def _small(pixels: np.ndarray) -> np.ndarray:
    from medistill.data.radiograph import LUMA

    grey = np.tensordot(LUMA, pixels, axes=1) if len(pixels) == 3 else pixels[0]
    picture = np.rint(np.clip(grey, 0, 255)).astype(np.uint8)
    factor = min(LONGEST / max(picture.shape), 1)
    height, width = (max(round(length * factor), 1) for length in picture.shape)
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))
