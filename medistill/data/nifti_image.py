"""NIfTI: one slice, turned as a viewer shows it."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.orientations import apply_orientation, io_orientation
from nibabel.spatialimages import HeaderDataError

from medistill.data.image import Image, check_size
from medistill.data.pixel_spacing import squared
from medistill.data.refusal import RejectedFile
from medistill.data.remark import ORIENTATION_UNUSED

HEADER_NIFTI_2 = 540
VALUES_AT = {348: ("f", 108), HEADER_NIFTI_2: ("q", 168)}
"""Length of the header of NIfTI-1 and NIfTI-2 -> form and place of the field that says where the values begin."""
MOST_BEFORE = 2**24
"""Bytes that a NIfTI file may have before its values: header and extensions."""
COLOUR = (1, 3)
"""Lengths of the axes of time and of components where the values are colours."""
DAMAGED = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    struct.error,
    gzip.BadGzipFile,
    zlib.error,
)


def read_nifti(path: Path) -> Image:
    """Read a NIfTI file that holds one slice, of two axes or with more of length 1, grey or of three colours.

    Where the header gives an orientation the picture is turned as a viewer shows it: the patient's right on the left,
    the head or the front on top. Where it gives none, the first axis runs along the columns.

    Raises:
        RejectedFile: damaged, too large, or more than one slice.
    """
    try:
        _check_offset(path)
        image = nibabel.load(path)
        shape = _shape(image.shape)
        values = _values(image, shape)
        oriented = int(image.header["qform_code"]) > 0 or int(image.header["sform_code"]) > 0
        turn = _turn(image.affine, shape) if oriented else None
        lengths = [float(length) for length in image.header["pixdim"][1:4]]
    except DAMAGED as error:
        raise RejectedFile("unreadable", f"it is damaged or not NIfTI ({type(error).__name__})") from None
    if not np.isfinite(values).all():
        raise RejectedFile("unreadable", "it holds values that are not finite")
    if turn is not None:
        values = apply_orientation(values, turn)
        shape, lengths = ([axes[n] for n in np.argsort(turn[:, 0])] for axes in (shape, lengths))
    across, down = (n for n, length in enumerate(shape) if length > 1)
    pixels = np.moveaxis(values, (3, down, across), (0, 1, 2))[..., 0]
    pixels = np.ascontiguousarray(pixels if turn is None else pixels[:, ::-1, ::-1])
    read = Image(pixels=pixels, deep=len(pixels) == 1, padding=np.zeros(pixels.shape[1:], bool))
    if oriented and turn is None:
        read = read.remarked(ORIENTATION_UNUSED, "left as it is: the orientation in its header is of no use")
    return squared(read, (lengths[down], lengths[across]))


def _shape(lengths: tuple[int, ...]) -> list[int]:
    """Lengths of the three axes in space, of which a slice as ITK writes it has two, with nothing behind them.

    Raises:
        RejectedFile: there is more than one slice, or one of a size that no radiograph has.
    """
    shape, behind = [*lengths, 1, 1, 1][:3], lengths[3:]
    sides = [length for length in shape if length != 1]
    if len(sides) != 2 or (behind != COLOUR and any(length != 1 for length in behind)):
        raise RejectedFile("several frames", f"it has the shape {tuple(lengths)}; a radiograph is one slice")
    check_size(sides[1], sides[0])
    return shape


def _values(image: Any, shape: list[int]) -> np.ndarray:
    """Float32 values (X, Y, Z, C), C 1 or 3; colours are stored as records of bytes, or along a fifth axis."""
    names = image.get_data_dtype().names or ()
    if not names:
        values = np.asarray(image.dataobj, np.float32).reshape(*shape, -1)
    else:
        stored = np.asanyarray(image.dataobj)
        if "A" in names and stored["A"].min() < 255:
            raise RejectedFile("transparent", "parts of it are transparent; what is to be seen there is not defined")
        values = np.stack([stored[name].astype(np.float32).reshape(shape) for name in "RGB"], -1)
    return values[..., :1] if (values == values[..., :1]).all() else values


def _turn(affine: np.ndarray, shape: list[int]) -> np.ndarray | None:
    """Which axis of the patient each axis is nearest to, and its sign (3, 2); None where that cannot be said.

    The third axis of a slice may have no direction: it has the one that is left.
    """
    if not np.isfinite(affine).all():
        return None
    turn = io_orientation(affine)
    lost = np.isnan(turn[:, 0])
    if any(length != 1 for length, gone in zip(shape, lost, strict=True) if gone):
        return None
    turn[lost, 0], turn[lost, 1] = sorted({0, 1, 2} - set(turn[~lost, 0])), 1
    return turn


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
                raise RejectedFile("too large", kind)
