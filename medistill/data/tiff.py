"""TIFF: what Pillow leaves to its caller: pages, sizes of tiles, grey that is white at 0, and numbers with a sign."""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import II, MM, OPEN_INFO, TiffImageFile

from medistill.data.image import MAX_PIXELS
from medistill.data.refusal import RejectedFile

BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR, TILE_WIDTH, TILE_LENGTH, SAMPLE_FORMAT = 258, 262, 284, 322, 323, 339
"""Numbers of tags (TIFF 6.0, sections 8, 15 and 19)."""
WHITE_IS_ZERO, SIGNED, UNSIGNED = 0, 2, 1
MORE = {
    (MM, 0, (1,), 1, (16,), ()): ("I;16B", "I;16B"),
    (II, 0, (2,), 1, (16,), ()): ("I", "I;16S"),
    (MM, 0, (2,), 1, (16,), ()): ("I", "I;16BS"),
    (II, 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (MM, 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (MM, 1, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (II, 0, (2,), 1, (8,), ()): ("L", "L"),
    (MM, 0, (2,), 1, (8,), ()): ("L", "L"),
    (II, 0, (2,), 1, (32,), ()): ("I", "I;32S"),
    (MM, 0, (2,), 1, (32,), ()): ("I", "I;32BS"),
    (II, 0, (1,), 1, (32,), ()): ("I", "I;32N"),
    (MM, 0, (1,), 1, (32,), ()): ("I", "I;32B"),
    (MM, 1, (1,), 1, (32,), ()): ("I", "I;32B"),
}
"""Kinds of grey that Pillow could read and has not in its table."""
NATIVE = (
    {"I;16BS": "I;16S", "I;32BS": "I;32S", "I;32B": "I;32N", "F;32BF": "F;32F"} if sys.byteorder == "little" else {}
)
"""What Pillow takes for the order of the file, though libtiff has turned it to the machine's already."""
for kind, read_as in MORE.items():
    OPEN_INFO.setdefault(kind, read_as)


def check_tiff(opened: TiffImageFile) -> None:
    """Refuse several pages, and tiles for which more memory would be taken than for any image.

    Raises:
        RejectedFile: it has them.
    """
    tile = [opened.tag_v2.get(tag, 1) for tag in (TILE_WIDTH, TILE_LENGTH)]
    if not all(isinstance(side, int) for side in tile):
        raise RejectedFile("unreadable", "the size of its tiles is not a number")
    if tile[0] * tile[1] > MAX_PIXELS:
        raise RejectedFile("too large", f"its tiles have {tile[1]} x {tile[0]} pixels, more than any image")
    try:
        opened.seek(1)
    except EOFError:
        opened.seek(0)
    else:
        raise RejectedFile("several frames", "it has several pages; a radiograph has one: save that page alone")


def in_deep_planes(opened: ImageFile) -> bool:
    """Whether it is TIFF with colours of 16 bits, each in a plane of its own."""
    if not isinstance(opened, TiffImageFile) or len(opened.getbands()) == 1:
        return False
    return opened.tag_v2.get(PLANAR) == 2 and 16 in np.atleast_1d(opened.tag_v2.get(BITS_PER_SAMPLE, 1))


def order_as_decoded(opened: TiffImageFile) -> None:
    """Have numbers read in the order of bytes in which libtiff gives them."""
    for n, tile in enumerate(opened.tile):
        if tile.codec_name == "libtiff" and isinstance(tile.args, tuple):
            opened.tile[n] = tile._replace(args=(NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:]))


def true_grey(opened: TiffImageFile, picture: Pillow.Image) -> np.ndarray:
    """Values of a picture in one of Pillow's grey modes but "1", float32 (H, W), more for what is brighter.

    Args:
        opened: the file that ``picture`` was read from.
    """
    values = np.asarray(picture)
    form = np.atleast_1d(opened.tag_v2.get(SAMPLE_FORMAT, UNSIGNED))[0]
    if form == SIGNED and picture.mode == "L":
        values = values ^ 0x80
    elif form == UNSIGNED and picture.mode == "I":
        values = values.view(np.uint32)
    values = values.astype(np.float32)
    turned = picture.mode == "L" and form != SIGNED  # by Pillow
    if opened.tag_v2.get(PHOTOMETRIC) != WHITE_IS_ZERO or turned:
        return values
    return 255 - values if picture.mode == "L" else values.max() + values.min() - values
