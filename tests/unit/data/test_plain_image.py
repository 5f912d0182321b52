"""PNG, TIFF, BMP and WebP, from bytes put together here by what their standards say."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medistill.data.codestream import webp_size
from medistill.data.decoding import decode_chunk
from medistill.data.image import Image
from medistill.data.radiograph import read_image
from medistill.data.refusal import RejectedFile
from medistill.recipe import DataRecipe

KEEP = DataRecipe(view_policy="keep")
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""Adam7: first row and column of each pass, and its steps down and across (PNG, 8.2)."""
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II"}


def picture(channels: int, top: int = 65535) -> np.ndarray:
    """Noise (17, 13, channels), every value of which has bits of its own in both bytes."""
    return np.random.default_rng(channels).integers(0, top + 1, (17, 13, channels))


def png(pixels: np.ndarray, *, interlaced: bool = False, chunks: dict[bytes, bytes] | None = None) -> bytes:
    """A PNG file with 16 bits a sample, unfiltered."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, channels = pixels.shape
    parts = [pixels[y::down, x::across] for y, x, down, across in PASSES] if interlaced else [pixels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for part in parts if part.size for row in part)
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, int(interlaced))
    more = b"".join(chunk(name, data) for name, data in (chunks or {}).items())
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def tiff(
    pixels: np.ndarray,
    *,
    order: str = "<",
    photometric: int = 1,
    form: int = 1,
    packed: bool = False,
    planes: bool = False,
    pages: int = 1,
    data: bytes | None = None,
    **tags: tuple[int, list],
) -> bytes:
    """A TIFF file of one strip a plane (TIFF 6.0). ``pixels`` are (H, W, C); ``tags`` are t<number>=(type, values)."""
    height, width, channels = pixels.shape
    swapped = pixels.astype(pixels.dtype.newbyteorder(order))
    strips = [swapped[..., n] for n in range(channels)] if planes else [swapped]
    coded = [data or strip.tobytes() for strip in strips]
    coded = [zlib.compress(strip) for strip in coded] if packed else coded
    body, starts = b"", []
    for strip in coded:
        starts.append(8 + len(body))
        body += strip
    entries = {
        256: (3, [width]),
        257: (3, [height]),
        258: (3, [8 * pixels.dtype.itemsize] * channels),
        259: (3, [8 if packed else 1]),
        262: (3, [photometric]),
        273: (4, starts),
        277: (3, [channels]),
        278: (4, [height]),
        279: (4, [len(strip) for strip in coded]),
        284: (3, [2 if planes else 1]),
        339: (3, [form] * channels),
        **{int(name[1:]): value for name, value in tags.items()},
    }
    body += bytes(len(body) % 2)
    directory = 8 + len(body)
    for page in range(pages):
        end = directory + 2 + 12 * len(entries) + 4
        table, beyond = struct.pack(f"{order}H", len(entries)), b""
        for tag, (kind, values) in sorted(entries.items()):
            flat = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
            raw = struct.pack(f"{order}{len(flat)}{TYPES[kind][0]}", *flat)
            table += struct.pack(f"{order}HHI", tag, kind, len(values))
            table += raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack(f"{order}I", end + len(beyond))
            beyond += b"" if len(raw) <= 4 else raw
        following = end + len(beyond) if page < pages - 1 else 0
        body += table + struct.pack(f"{order}I", following) + beyond
        first, directory = (directory, following) if page == 0 else (first, following)
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", first) + body


def read(tmp_path: Path, content: bytes, name: str = "a.bin") -> Image:
    (tmp_path / name).write_bytes(content)
    return read_image(tmp_path / name, KEEP)


def refusal(tmp_path: Path, content: bytes) -> RejectedFile:
    with pytest.raises(RejectedFile) as caught:
        read(tmp_path, content)
    return caught.value


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("top", [4095, 65535])
def test_png_of_16_bits_keeps_both_bytes(tmp_path, interlaced, top):
    for channels in (1, 3):
        image = read(tmp_path, png(picture(channels, top), interlaced=interlaced))
        np.testing.assert_array_equal(image.pixels, picture(channels, top).transpose(2, 0, 1))
        assert image.deep
    for channels in (2, 4):
        opaque = picture(channels, top)
        opaque[..., -1] = 65535
        image = read(tmp_path, png(opaque, interlaced=interlaced))
        np.testing.assert_array_equal(image.pixels, opaque[..., :-1].transpose(2, 0, 1))


def test_colour_without_colour_is_grey(tmp_path):
    grey = np.repeat(picture(1, 4095), 3, axis=2)
    np.testing.assert_array_equal(read(tmp_path, png(grey)).pixels, grey[None, ..., 0])


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_of_16_bits_is_refused(tmp_path, channels):
    assert refusal(tmp_path, png(picture(channels))).category == "transparent"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_is_refused_where_it_is_there(tmp_path, channels):
    pixels = picture(channels)
    there, elsewhere = pixels[3, 4], (pixels[3, 4] + 1) % 65536
    assert not (pixels == elsewhere).all(2).any()
    named = {b"tRNS": there.astype(">u2").tobytes()}
    assert refusal(tmp_path, png(pixels, chunks=named)).category == "transparent"
    named = {b"tRNS": elsewhere.astype(">u2").tobytes()}
    np.testing.assert_array_equal(read(tmp_path, png(pixels, chunks=named)).pixels, pixels.transpose(2, 0, 1))


def test_exif_turns_both_bytes(tmp_path):
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    image = read(tmp_path, png(picture(3), chunks={b"eXIf": exif}))
    np.testing.assert_array_equal(image.pixels, np.rot90(picture(3), -1).transpose(2, 0, 1))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "form"), [("u1", 1), ("i1", 2), ("u2", 1), ("i2", 2), ("u4", 1), ("i4", 2), ("f4", 3)]
)
def test_grey_tiff(tmp_path, dtype, form, order, packed):
    low, high = (-1000, 1000) if dtype == "f4" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = np.random.default_rng(0).integers(low, high, (17, 13, 1), endpoint=True).astype(dtype)
    brighter = values[..., 0].astype(np.float64)
    content = tiff(values, order=order, form=form, packed=packed)
    image = read(tmp_path, content)
    assert image.deep == (dtype[1] != "1")
    np.testing.assert_allclose(image.pixels[0], brighter + 128 * (dtype == "i1"), rtol=1e-6)
    white_at_0 = read(tmp_path, tiff(values, order=order, form=form, packed=packed, photometric=0)).pixels[0]
    np.testing.assert_allclose(np.ptp(white_at_0), np.ptp(brighter), rtol=1e-6)
    np.testing.assert_allclose(white_at_0 - white_at_0.min(), brighter.max() - brighter, atol=1e-6 * np.ptp(brighter))


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("order", ["<", ">"])
def test_grey_tiff_of_12_bits(tmp_path, order, photometric):
    values = np.random.default_rng(0).integers(0, 4096, (17, 12))
    bits = (values[..., None] >> np.arange(11, -1, -1) & 1).astype(np.uint8)
    pixels = np.zeros((17, 12, 1), np.uint8)
    content = tiff(pixels, order=order, photometric=photometric, data=np.packbits(bits).tobytes(), t258=(3, [12]))
    expected = values if photometric else values.max() + values.min() - values
    np.testing.assert_array_equal(read(tmp_path, content).pixels[0], expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("planes", "packed"), [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_colour_tiff(tmp_path, order, planes, packed, dtype):
    colour = picture(3, np.iinfo(dtype).max).astype(dtype)
    image = read(tmp_path, tiff(colour, order=order, photometric=2, planes=planes, packed=packed))
    np.testing.assert_array_equal(image.pixels, colour.transpose(2, 0, 1))
    assert image.deep == (dtype == "u2")


def test_colour_in_planes_of_which_half_would_be_lost_is_refused(tmp_path):
    content = tiff(picture(3).astype("u2"), photometric=2, planes=True, packed=True)
    refused = refusal(tmp_path, content)
    assert (refused.category, "compressed planes" in refused.reason) == ("unsupported coding", True)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_cmyk_tiff(tmp_path, dtype, packed):
    top = np.iinfo(dtype).max
    ink = picture(4, top).astype(dtype)
    image = read(tmp_path, tiff(ink, photometric=5, packed=packed))
    share = ink.astype(float) / top
    expected = ((1 - share[..., :3]) * (1 - share[..., 3:]) * top).transpose(2, 0, 1)
    np.testing.assert_allclose(image.pixels, expected, atol=1 if dtype == "u1" else 0.1)


def test_palette_tiff(tmp_path):
    palette = np.random.default_rng(1).integers(0, 256, (3, 256))
    index = picture(1, 255).astype("u1")
    content = tiff(index, photometric=3, t320=(3, (palette * 257).ravel().tolist()))
    np.testing.assert_array_equal(read(tmp_path, content).pixels, palette[:, index[..., 0]])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_tiff(tmp_path, orientation, dtype, channels):
    lies = {  # TIFF 6.0, section 8: what row 0 and column 0 of the file are of the picture
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: p.swapaxes(0, 1)[:, ::-1],
        7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
        8: lambda p: p.swapaxes(0, 1)[::-1],
    }
    stored = picture(channels, np.iinfo(dtype).max).astype(dtype)
    content = tiff(stored, photometric=2 if channels == 3 else 1, t274=(3, [orientation]))
    np.testing.assert_array_equal(read(tmp_path, content).pixels, lies[orientation](stored).transpose(2, 0, 1))


def test_several_pages_are_refused(tmp_path):
    grey = picture(1, 255).astype("u1")
    np.testing.assert_array_equal(read(tmp_path, tiff(grey)).pixels[0], grey[..., 0])
    refused = refusal(tmp_path, tiff(grey, pages=3))
    assert (refused.category, "pages" in refused.reason) == ("several frames", True)


def test_tiff_that_takes_more_memory_than_an_image_is_refused(tmp_path):
    grey = picture(1, 255).astype("u1")
    assert refusal(tmp_path, tiff(grey, t256=(4, [60_000]), t257=(4, [60_000]))).category == "too large"
    tiles = {"t322": (4, [64_000]), "t323": (4, [64_000]), "t324": (4, [8]), "t325": (4, [221])}
    assert refusal(tmp_path, tiff(grey, packed=True, **tiles)).category == "too large"


def test_tiff_cut_short_or_of_a_kind_nobody_reads_is_refused(tmp_path):
    whole = tiff(picture(1, 255).astype("u1"))
    up_to_where_the_pixels_begin = 8 + 222 + 2 + 6 * 12
    for length in range(8, up_to_where_the_pixels_begin, 13):
        assert refusal(tmp_path, whole[:length]).category in ("unreadable", "truncated")
    assert refusal(tmp_path, tiff(picture(1).astype("f8"), form=3)).category == "unreadable"
    not_finite = np.full((17, 13, 1), np.nan, "f4")
    assert refusal(tmp_path, tiff(not_finite, form=3)).category == "unreadable"


def test_what_a_decoder_in_c_says_is_not_shown(tmp_path, capfd):
    pixels = picture(1, 255).astype("u1")
    damaged = bytearray(tiff(pixels, packed=True))
    damaged[8 + len(zlib.compress(pixels.tobytes())) - 1] ^= 1
    (tmp_path / "a.tif").write_bytes(damaged)
    with pytest.raises(RejectedFile):
        read_image(tmp_path / "a.tif", KEEP)
    assert "ZIPDecode" in capfd.readouterr().err
    (decoded,) = decode_chunk(tmp_path, ["a.tif"], KEEP)
    assert decoded.category == "unreadable"
    assert capfd.readouterr().err == ""


def test_bmp(tmp_path):
    """Rows from below, blue first, each filled up to four bytes."""
    colour = picture(3, 255).astype("u1")
    rows = b"".join(row[:, ::-1].tobytes() + bytes(-row.size % 4) for row in colour[::-1])
    header = struct.pack("<IiiHHIIiiII", 40, 13, 17, 1, 24, 0, len(rows), 2835, 2835, 0, 0)
    content = b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + header + rows
    image = read(tmp_path, content, "a.bmp")
    np.testing.assert_array_equal(image.pixels, colour.transpose(2, 0, 1))
    assert not image.deep
    assert refusal(tmp_path, content[:200]).category in ("truncated", "unreadable")
    large = content[:18] + struct.pack("<ii", 50_000, 50_000) + content[26:]
    assert refusal(tmp_path, large).category == "too large"
    assert refusal(tmp_path, b"BMI of patients, in words" * 9).category == "not an image"


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_webp(tmp_path, mode, lossless):
    colour = np.kron(np.random.default_rng(0).integers(0, 255, (4, 5, 4)), np.ones((16, 16, 1))).astype("u1")
    colour[..., 3] = 255
    saved = Pillow.fromarray(colour).convert(mode)
    saved.save(
        tmp_path / "a.webp", lossless=lossless, quality=100, exif=b"" if lossless else b"Exif\0\0II*\0\x08\0\0\0\0\0"
    )
    content = (tmp_path / "a.webp").read_bytes()
    assert webp_size(content[:30])[:2] == (64, 80)
    image = read_image(tmp_path / "a.webp", KEEP)
    expected = np.asarray(saved.convert("RGB")).transpose(2, 0, 1)
    assert np.abs(image.pixels - expected).mean() < (1e-9 if lossless else 8)
    assert refusal(tmp_path, content[: len(content) // 2]).category in ("truncated", "unreadable")


def test_webp_of_several_frames_or_seen_through_is_refused(tmp_path):
    frames = [Pillow.fromarray(picture(3, 255).astype("u1")) for _ in range(2)]
    frames[1].putpixel((3, 3), (0, 0, 0))
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert refusal(tmp_path, (tmp_path / "a.webp").read_bytes()).category == "several frames"
    clear = picture(4, 255).astype("u1")
    Pillow.fromarray(clear).save(tmp_path / "a.webp", lossless=True)
    assert refusal(tmp_path, (tmp_path / "a.webp").read_bytes()).category == "transparent"


def test_a_webp_canvas_is_refused_before_memory_is_taken_for_it(tmp_path, monkeypatch):
    frame = picture(3, 255).astype("u1")
    Pillow.fromarray(frame).save(tmp_path / "a.webp", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
    content = bytearray((tmp_path / "a.webp").read_bytes())
    assert content[12:16] == b"VP8X"
    content[24:30] = (59_999).to_bytes(3, "little") * 2
    monkeypatch.setattr(Pillow, "open", lambda *_, **__: pytest.fail("it was opened"))
    assert refusal(tmp_path, bytes(content)).category == "too large"
    assert refusal(tmp_path, bytes(content[:28])).category == "unreadable"


def test_resolutions_that_differ_make_pixels_square(tmp_path):
    """Twice as many pixels an inch across as down: each is twice as high as wide."""
    grey = picture(1, 255).astype("u1")
    content = tiff(grey, t282=(5, [(600, 1)]), t283=(5, [(300, 1)]), t296=(3, [2]))
    image = read(tmp_path, content)
    assert image.pixels.shape == (1, 34, 13)
    assert [remark.category for remark in image.remarks] == ["pixels made square"]
    turned = read(tmp_path, tiff(grey, t282=(5, [(600, 1)]), t283=(5, [(300, 1)]), t274=(3, [6])))
    assert turned.pixels.shape == (1, 13, 34)
    colour = read(tmp_path, png(picture(3), chunks={b"pHYs": struct.pack(">IIB", 2, 1, 0)}))
    assert colour.pixels.shape == (3, 34, 13)
    Pillow.fromarray(grey[..., 0]).save(tmp_path / "a.jpg", dpi=(600, 300))
    assert read_image(tmp_path / "a.jpg", KEEP).pixels.shape == (1, 34, 13)
    jfif = bytearray((tmp_path / "a.jpg").read_bytes())
    assert jfif[6:11] == b"JFIF\0"
    jfif[13:18] = struct.pack(">BHH", 0, 1, 2)
    assert read(tmp_path, bytes(jfif)).pixels.shape == (1, 17, 26)
