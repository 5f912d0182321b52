"""Previews: the images of a set as a person sees them, one PNG each and the first on one sheet, with no word inside."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from medistill.artifacts.contact_sheet import TILE, contact_sheet
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import ArtifactError

SHEET = "contact_sheet.png"
CHUNKS = (b"IHDR", b"IDAT", b"IEND")
"""What a PNG of a bundle consists of; text, times and profiles would be others."""
MOST = 400
"""Images on the sheet."""
LARGEST = 40_000_000
"""Pixels of the images on the sheet, gaps and captions not counted."""
_MARK = b"\x89PNG\r\n\x1a\n"


def preview_name(index: int) -> str:
    """Name in the bundle of the preview of an image."""
    return f"previews/{index:04d}.png"


def previews(viewable: np.ndarray) -> dict[str, bytes]:
    """Uint8 images (N, C, H, W) as PNG files, name -> bytes."""
    return {preview_name(k): png(_picture(image)) for k, image in enumerate(viewable)}


def sheet(distilled: DistilledSet) -> Image.Image:
    """The first images of every class, as many as make a picture that a person can open."""
    per_image = max(TILE, *distilled.images.shape[2:]) ** 2
    most = max(1, min(MOST, LARGEST // per_image))
    present = np.unique(distilled.labels)
    per_class = max(1, most // len(present))
    rows = np.concatenate([np.flatnonzero(distilled.labels == c)[:per_class] for c in present])[:most]
    shown = distilled.normalisation.invert(distilled.images[rows])
    return contact_sheet(shown, distilled.labels[rows], distilled.class_names, tiles=distilled.tiles)


def png(picture: Image.Image) -> bytes:
    """A picture as PNG, without anything but its pixels."""
    buffer = io.BytesIO()
    bare = Image.frombytes(picture.mode, picture.size, picture.tobytes())
    bare.save(buffer, format="PNG", compress_level=9)
    return buffer.getvalue()


def check_png(name: str, data: bytes) -> None:
    """Refuse what is no PNG, a PNG that holds anything but pixels, and one too large to open.

    Raises:
        ArtifactError: it is one of these.
    """
    if not data.startswith(_MARK):
        raise _refusal(name, "it is no PNG")
    at, kind = len(_MARK), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind not in CHUNKS or at + 12 + length > len(data):
            raise _refusal(name, "it is truncated, or holds something else than pixels")
        at += 12 + length
    if at != len(data):
        raise _refusal(name, "something stands behind its end")
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))
    if width * height > 2 * LARGEST:
        raise _refusal(name, f"it has {width} by {height} pixels")


def check_previews(files: Mapping[str, bytes], viewable: np.ndarray) -> None:
    """Refuse previews that do not show uint8 images (N, C, H, W).

    Raises:
        ArtifactError: one is missing, or shows something else.
    """
    expected = [preview_name(k) for k in range(len(viewable))]
    if sorted(expected) != sorted(name for name in files if name.startswith("previews/")):
        raise _refusal("previews", "there is not one preview an image")
    for name, image in zip(expected, viewable, strict=True):
        check_png(name, files[name])
        if not _shows(files[name], _picture(image)):
            raise _refusal(name, "it does not show the image that it stands for")


def _shows(data: bytes, expected: Image.Image) -> bool:
    """Whether a PNG shows just that; the size is compared before anything is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            alike = (picture.mode, picture.size) == (expected.mode, expected.size)
            return alike and picture.tobytes() == expected.tobytes()
    except (OSError, ValueError, SyntaxError):
        return False


def _picture(image: np.ndarray) -> Image.Image:
    """Uint8 (C, H, W) with one or three channels."""
    pixels = np.moveaxis(image, 0, 2)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def _refusal(name: str, why: str) -> ArtifactError:
    return ArtifactError(
        f"{name} of the bundle cannot be used: {why}",
        expected="a picture as `medistill share` draws it",
        do="have the bundle sent again",
    )
