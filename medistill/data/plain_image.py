"""PNG, JPEG and NIfTI: formats that say nothing of the patient."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from medistill.data.image import Image, check_size
from medistill.data.refusal import Refused

HEADER_NIFTI_2 = 540
VALUES_AT = {348: ("f", 108), HEADER_NIFTI_2: ("q", 168)}
"""Length of the header of NIfTI-1 and NIfTI-2 -> form and place of the field that says where the values begin."""
MOST_BEFORE = 2**24
"""Bytes that a NIfTI file may have before its values: header and extensions."""


def read_pillow(path: Path) -> Image:
    """Read a PNG or JPEG file; 16-bit grey is kept deep, a palette is resolved, the EXIF orientation is followed.

    Raises:
        Refused: damaged, too large, several frames, or partly transparent.
    """
    try:
        with Pillow.open(path, formats=("PNG", "JPEG")) as opened:
            check_size(opened.height, opened.width)
            frames = int(getattr(opened, "n_frames", 1))
            if frames > 1:
                raise Refused("several frames", f"it holds {frames} frames; a radiograph has one")
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    except Pillow.DecompressionBombError:
        raise Refused("too large", "it unpacks to more pixels than any radiograph has") from None
    except UnidentifiedImageError:
        raise Refused("unreadable", "its first bytes say PNG or JPEG, the rest does not") from None
    except (OSError, SyntaxError, ValueError, zlib.error, EOFError) as error:
        kind = "truncated" if "truncated" in str(error) else "unreadable"
        raise Refused(kind, f"it is damaged or cut short ({type(error).__name__})") from None
    if "A" in picture.getbands() or "transparency" in picture.info:
        alpha = np.asarray(picture.convert("RGBA").getchannel("A"))
        if alpha.min() < 255:
            raise Refused("transparent", "parts of it are transparent; what is to be seen there is not defined")
    deep = picture.mode.startswith("I") or picture.mode == "F"
    if deep or picture.mode in ("L", "1", "LA"):
        values = np.asarray(picture if deep else picture.convert("L"), np.float32)[None]
    else:
        values = np.asarray(picture.convert("RGB"), np.float32).transpose(2, 0, 1)
        if (values == values[:1]).all():
            values = values[:1]
    return Image(pixels=values, deep=deep, padding=np.zeros(values.shape[1:], bool))


def read_nifti(path: Path) -> Image:
    """Read a NIfTI file that holds one slice.

    Where the header gives an orientation the picture is turned as a viewer shows it: the patient's right on the left,
    the head or the front on top. Where it gives none, the first axis runs along the columns.

    Raises:
        Refused: damaged, too large, or more than one slice.
    """
    try:
        _check_offset(path)
        image = nibabel.load(path)
        shape = [extent for extent in image.shape if extent != 1]
        if len(shape) != 2:
            raise Refused("several frames", f"it has the shape {tuple(image.shape)}; a radiograph is one slice")
        check_size(shape[1], shape[0])
        oriented = int(image.header["qform_code"]) > 0 or int(image.header["sform_code"]) > 0
        turned = nibabel.as_closest_canonical(image) if oriented else image
        values = np.asarray(turned.dataobj, np.float32).squeeze()
    except (
        ImageFileError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        struct.error,
        gzip.BadGzipFile,
        zlib.error,
    ) as error:
        raise Refused("unreadable", f"it is damaged or not NIfTI ({type(error).__name__})") from None
    if not np.isfinite(values).all():
        raise Refused("unreadable", "it holds values that are not finite")
    values = values.T[::-1, ::-1] if oriented else values.T
    return Image(pixels=values[None], deep=True, padding=np.zeros(values.shape, bool))


def _check_offset(path: Path) -> None:
    """Refuse values that begin far behind the header: what lies between is unpacked, and taken for extensions."""
    with ImageOpener(path) as file:
        start = file.read(HEADER_NIFTI_2)
    for order in "<>":
        (length,) = struct.unpack_from(f"{order}i", start)
        if length in VALUES_AT:
            (offset,) = struct.unpack_from(order + VALUES_AT[length][0], start, VALUES_AT[length][1])
            if not offset <= MOST_BEFORE:  # nor where it is no number
                kind = f"more than {MOST_BEFORE // 2**20} MiB lie between its header and its values"
                raise Refused("too large", kind)
