"""PNG, JPEG, TIFF, BMP and WebP: formats that say nothing of the patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from medistill.data.codestream import webp_size
from medistill.data.deep_colour import deep_colour, has_deep_colour
from medistill.data.image import Image, check_size
from medistill.data.pixel_spacing import squared
from medistill.data.refusal import RejectedFile
from medistill.data.tiff import check_tiff, order_as_decoded, true_grey

STARTS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
"""First bytes -> Pillow's name of the format. The last two begin a TIFF file with offsets of 64 bits."""
BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}
"""Lengths of the second header of a BMP file; two letters alone are too little to know it by."""
ORIENTATION = 0x0112
"""Number of the EXIF and TIFF tag that says how the picture is to be turned."""
SIDEWAYS = (5, 6, 7, 8)
"""Its values where the sides change places."""
OPAQUE, WHITE = 255, 65535


class _Opened(NamedTuple):
    """A file's pixels, the right way up: values float32 (C, H, W), and whether they are deep."""

    values: np.ndarray
    deep: bool


def format_of(start: bytes) -> str:
    """Pillow's name of a file's format by its first 30 bytes; "" where it is none of these."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in BMP_HEADERS:
        return "BMP"
    return next((kind for first, kind in STARTS.items() if start.startswith(first)), "")


def read_pillow(path: Path, kind: str) -> Image:
    """Read a file of one of these formats.

    What is deeper than 8 bits is kept deep, a palette is resolved, CMYK becomes RGB, grey that is white at 0 is
    inverted, colour without any colour becomes grey, EXIF's orientation is followed, and pixels are made square.

    Args:
        kind: its format, from `format_of`.

    Raises:
        RejectedFile: damaged, too large, several frames, or partly transparent.
    """
    try:
        if kind == "WEBP":
            _check_webp(path)
        # by its path Pillow would map some TIFF files into memory, and scramble those that lie on their side
        with path.open("rb") as file, Pillow.open(file, formats=(kind,)) as opened:
            _check(opened)
            read = _deep if has_deep_colour(opened) else _plain
            spacing = _spacing(opened)  # for which Pillow may read all of a PNG file
            values, deep = read(path, opened)
    except (RejectedFile, MemoryError):
        raise
    except Pillow.DecompressionBombError:
        raise RejectedFile("too large", "it unpacks to more pixels than any radiograph has") from None
    except UnidentifiedImageError:
        raise RejectedFile(
            "unreadable", f"its first bytes say {kind}; the rest is damaged, or of a rare sort"
        ) from None
    except Exception as error:  # noqa: BLE001  # each format has its own kinds
        category = "truncated" if "truncated" in str(error) else "unreadable"
        raise RejectedFile(category, f"it is damaged or cut short ({type(error).__name__})") from None
    if not np.isfinite(values).all():
        raise RejectedFile("unreadable", "it holds values that are not finite")
    if len(values) == 3 and (values == values[:1]).all():
        values = values[:1]
    return squared(Image(pixels=values, deep=deep, padding=np.zeros(values.shape[1:], bool)), spacing)


def _check_webp(path: Path) -> None:
    """Pillow takes memory for a WebP picture when it is opened."""
    with path.open("rb") as file:
        size = webp_size(file.read(30))
    if size is None:
        raise RejectedFile("unreadable", "it does not say its size where a WebP file must")
    check_size(size.rows, size.columns)


def _check(opened: ImageFile) -> None:
    """Refuse what is not to be decoded."""
    check_size(opened.height, opened.width)
    if isinstance(opened, TiffImageFile):
        check_tiff(opened)
        return
    frames = int(getattr(opened, "n_frames", 1))
    if frames > 1:
        raise RejectedFile("several frames", f"it holds {frames} frames; a radiograph has one")


def _plain(_: Path, opened: ImageFile) -> _Opened:
    """What Pillow reads as it is."""
    tiff = opened if isinstance(opened, TiffImageFile) else None
    if tiff:
        order_as_decoded(tiff)
    picture = ImageOps.exif_transpose(opened)
    deep = picture.mode.startswith("I") or picture.mode == "F"
    if deep or (tiff and picture.mode == "L"):
        values = true_grey(tiff, picture) if tiff else np.asarray(picture, np.float32)
        _refuse_colour(values[None], picture.info.get("transparency"))
        return _Opened(values[None], deep)
    if picture.mode == "La":
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        _refuse_transparent(np.asarray(picture.convert("RGBA").getchannel("A")) < OPAQUE)
    if picture.mode in ("L", "1", "LA"):
        return _Opened(np.asarray(picture.convert("L"), np.float32)[None], deep=False)
    return _Opened(np.asarray(picture.convert("RGB"), np.float32).transpose(2, 0, 1), deep=False)


def _deep(path: Path, opened: ImageFile) -> _Opened:
    """Colour of 16 bits a sample, or grey with a transparency of as many."""
    values = deep_colour(path, str(opened.format))
    if opened.mode == "CMYK":
        ink = values.astype(np.float32) / WHITE
        return _Opened((1 - ink[:3]) * (1 - ink[3:]) * WHITE, deep=True)
    if len(values) in (2, 4):
        _refuse_transparent(values[-1] >> 8 < OPAQUE)
        values = values[:-1]
    _refuse_colour(values, opened.info.get("transparency"))
    return _Opened(values.astype(np.float32), deep=True)


def _refuse_colour(values: np.ndarray, transparent: Any) -> None:
    """Refuse values (C, H, W) of which some have the colour that PNG files may name as transparent."""
    if transparent is not None:
        _refuse_transparent((values == np.reshape(transparent, (-1, 1, 1))).all(0))


def _refuse_transparent(where: np.ndarray) -> None:
    if where.any():
        raise RejectedFile("transparent", "parts of it are transparent; what is to be seen there is not defined")


def _spacing(opened: ImageFile) -> tuple[float, float]:
    """How far apart pixels are down and across, in any unit, by the file's pixels a length across and down."""
    aspect = "jfif_density" if opened.info.get("jfif_unit") == 0 else "aspect"
    per_length = next((opened.info[name] for name in (aspect, "dpi", "resolution") if name in opened.info), (1, 1))
    down, across = (float(per) for per in per_length)
    return (across, down) if opened.getexif().get(ORIENTATION, 1) in SIDEWAYS else (down, across)
