"""Previews show the images, and nothing else can hide in them."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from medistill.errors import ArtifactError
from medistill.sharing.previews import check_png, check_previews, png, preview_name, previews, sheet
from tests.factories.sent_bundle import small_set


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_preview_decodes_to_the_image(channels: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, channels, 5, 7), dtype=np.uint8)
    files = previews(images)
    assert sorted(files) == [preview_name(k) for k in range(3)]
    for k, image in enumerate(images):
        shown = np.asarray(Image.open(io.BytesIO(files[preview_name(k)])))
        assert np.array_equal(shown if channels == 3 else shown[..., None], np.moveaxis(image, 0, 2))
    check_previews(files, images)


def test_words_in_a_picture_do_not_get_out() -> None:
    picture = Image.new("L", (4, 4), 7)
    picture.info["Author"] = "Quarksmann"
    held = io.BytesIO()
    words = PngImagePlugin.PngInfo()
    words.add_text("Author", "Quarksmann")
    picture.save(held, "PNG", pnginfo=words)
    assert b"Quarksmann" in held.getvalue()
    assert b"Quarksmann" not in png(Image.open(held))
    with pytest.raises(ArtifactError, match="something else than pixels"):
        check_png("x.png", held.getvalue())


def test_other_pixels_and_what_is_no_png_are_refused() -> None:
    images = np.zeros((2, 1, 6, 6), np.uint8)
    files = previews(images)
    other = images.copy()
    other[1, 0, 3, 3] = 1
    with pytest.raises(ArtifactError, match=r"0001\.png.*does not show"):
        check_previews(files, other)
    good = files[preview_name(0)]
    for broken, why in (
        (good + b"x", "behind its end"),
        (good[:-5], "truncated"),
        (b"GIF89a", "no PNG"),
        (good[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)) + good[33:], "50000 by"),
    ):
        with pytest.raises(ArtifactError, match=why):
            check_png("x.png", broken)


def test_the_sheet_of_a_large_set_stays_a_picture_that_can_be_opened() -> None:
    few = small_set()
    many = replace(
        few,
        images=np.zeros((3000, 1, 8, 8), np.float32),
        labels=np.arange(3000) % 1500,
        weights=np.ones(3000, np.float32),
        stage=np.zeros(3000, np.int64),
        class_names=tuple(f"class {k}" for k in range(1500)),
    )
    drawn = sheet(many)
    assert drawn.width * drawn.height < 20_000_000
    check_png("contact_sheet.png", png(drawn))
