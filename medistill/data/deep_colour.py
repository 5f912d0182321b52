"""Deep colour: PNG and TIFF files of several samples of 16 bits, of which Pillow keeps the upper bytes alone.

A 12-bit picture in such a file would come out nearly black. Told that a sample's bytes lie the other way round, Pillow
gives the lower ones: so the file is read twice.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import II, TiffImageFile

from medistill.data.refusal import RejectedFile
from medistill.data.tiff import in_deep_planes

OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
GREY_AND_ALPHA = "LA;16B"
"""Pillow's name for grey of 16 bits with as much transparency, for which it knows no other order of bytes."""


def has_deep_colour(opened: ImageFile) -> bool:
    """Whether a file, of which nothing but the header has been read, has several samples of 16 bits a pixel."""
    deep = _raw_mode(opened)[-3:] in OTHER_ORDER and not opened.mode.startswith("I")
    return deep or in_deep_planes(opened)


def deep_colour(path: Path, kind: str) -> np.ndarray:
    """Samples of a file that `has_deep_colour`, the right way up: uint16 (C, H, W).

    Args:
        kind: Pillow's name of its format.

    Returns:
        Two channels where it holds grey and transparency, else three, or four with transparency or of CMYK.

    Raises:
        RejectedFile: its colours lie in compressed planes, of which Pillow gives the upper bytes alone.
    """
    with path.open("rb") as file, Pillow.open(file, formats=(kind,)) as opened:
        if _raw_mode(opened) == GREY_AND_ALPHA:
            return _grey_and_alpha(opened)
        _choose_bytes(opened, swapped=False)
        upper = np.asarray(ImageOps.exif_transpose(opened), np.uint16)
    with path.open("rb") as file, Pillow.open(file, formats=(kind,)) as opened:
        _choose_bytes(opened, swapped=True)
        lower = np.asarray(ImageOps.exif_transpose(opened), np.uint16)
    return (upper << 8 | lower).transpose(2, 0, 1)


def _grey_and_alpha(opened: ImageFile) -> np.ndarray:
    """Read as RGBA, which has four bytes a pixel too."""
    opened.tile = [opened.tile[0]._replace(args="RGBA")]
    four = np.asarray(ImageOps.exif_transpose(opened), np.uint16).transpose(2, 0, 1)
    return four[0::2] << 8 | four[1::2]


def _raw_mode(opened: ImageFile) -> str:
    """Pillow's name for how the samples lie in the file."""
    args = opened.tile[0].args if opened.tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _choose_bytes(opened: ImageFile, *, swapped: bool) -> None:
    """Have the upper bytes of the samples read, or the lower ones."""
    planes = in_deep_planes(opened)
    for n, tile in enumerate(opened.tile):
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        form = str(args[0])
        if planes and tile.codec_name != "raw":
            why = "its 16-bit colours lie in compressed planes, one for each; save it with its colours together"
            raise RejectedFile("unsupported coding", why)
        if planes and isinstance(opened, TiffImageFile):
            form = f"{form[0]};16{'L' if opened.tag_v2.prefix == II else 'B'}"
        form = form[:-3] + OTHER_ORDER[form[-3:]] if swapped else form
        opened.tile[n] = tile._replace(args=(form, *args[1:]) if isinstance(tile.args, tuple) else form)
