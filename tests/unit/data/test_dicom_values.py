"""Values and brightness of DICOM pixels, against words put together here bit by bit, and figures worked out by hand."""

from __future__ import annotations

import zlib
from collections.abc import Sequence as Several
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from medistill.data.image import Image
from medistill.data.radiograph import read_image
from medistill.data.refusal import RejectedFile
from medistill.recipe import DataRecipe

KEEP = DataRecipe(view_policy="keep", image_size=16)
DEFLATED_FRAME, UNCOMPRESSED_FRAME = UID("1.2.840.10008.1.2.8.1"), UID("1.2.840.10008.1.2.1.98")
SIDE = (40, 47)
Element = tuple[str, str, Any]


def picture(low: int, high: int, shape: Several[int] = SIDE) -> np.ndarray:
    """Values from ``low`` to ``high``, both of which are there, in an order that no turn leaves as it is."""
    values = np.random.default_rng(3).integers(low, high + 1, shape)
    values.flat[0], values.flat[-1] = low, high
    return values


def written(
    path: Path,
    words: np.ndarray,
    *more: Element,
    stored: int,
    high: int | None = None,
    signed: bool = False,
    photometric: str = "MONOCHROME2",
    planar: int = 0,
    syntax: UID = ExplicitVRLittleEndian,
) -> Path:
    """A file of unsigned words (H, W) or (H, W, 3), with elements of whatever VR."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = UNCOMPRESSED_FRAME if syntax == DEFLATED_FRAME else syntax
    data.SOPClassUID, data.SOPInstanceUID, data.PatientID = SecondaryCaptureImageStorage, generate_uid(), "ID-4711"
    data.Rows, data.Columns = words.shape[:2]
    data.SamplesPerPixel, data.PixelRepresentation = (3 if words.ndim == 3 else 1), int(signed)
    if words.ndim == 3:
        data.PlanarConfiguration = planar
    data.PhotometricInterpretation = photometric
    data.BitsAllocated, data.BitsStored = 8 * words.dtype.itemsize, stored
    data.HighBit = stored - 1 if high is None else high
    for keyword, vr, value in more:
        data.add_new(keyword, vr, value)
    pixels = (words.transpose(2, 0, 1) if planar else words).astype(words.dtype.newbyteorder("<")).tobytes()
    if syntax == DEFLATED_FRAME:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        pixels = packer.compress(pixels) + packer.flush()
    if syntax == RLELossless:
        pixels = rle(words)
    framed = syntax in (DEFLATED_FRAME, UNCOMPRESSED_FRAME, RLELossless)
    pixels = encapsulate([pixels]) if framed else pixels + b"\0" * (len(pixels) % 2)
    data.add_new("PixelData", "OB" if framed or words.itemsize == 1 else "OW", pixels)
    if framed:
        data["PixelData"].is_undefined_length = True
    data.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True, enforce_file_format=True)
    return renamed(path, UNCOMPRESSED_FRAME, DEFLATED_FRAME) if syntax == DEFLATED_FRAME else path


def rle(words: np.ndarray) -> bytes:
    """A frame of literal runs: a segment for each byte of each sample, the highest one first (PS3.5, G)."""
    planes = words.astype(words.dtype.newbyteorder(">")).reshape(*words.shape[:2], -1)
    segments = []
    for sample in range(planes.shape[2]):
        parts = np.ascontiguousarray(planes[..., sample]).view(np.uint8).reshape(-1, words.itemsize)
        for byte in range(words.itemsize):
            plane = parts[:, byte].tobytes()
            runs = (plane[n : n + 128] for n in range(0, len(plane), 128))
            coded = b"".join(bytes([len(run) - 1]) + run for run in runs)
            segments.append(coded + b"\x80" * (len(coded) % 2))
    starts = 64 + np.cumsum([0, *map(len, segments)])[:-1]
    return np.array([len(segments), *starts], "<u4").tobytes().ljust(64, b"\0") + b"".join(segments)


def renamed(path: Path, syntax: UID, new: UID) -> Path:
    """The file with another transfer syntax of the same length, which pydicom need not know."""
    old, now = (uid.encode() + b"\0" * (len(uid) % 2) for uid in (syntax, new))
    assert len(old) == len(now)
    path.write_bytes(path.read_bytes().replace(old, now, 1))
    return path


def words_of(values: np.ndarray, allocated: int, stored: int, high: int) -> np.ndarray:
    """Words with values in their place, and with every other bit set at random."""
    kind = {8: np.uint8, 16: np.uint16, 32: np.uint32}[allocated]
    shift = high + 1 - stored
    mask = ((1 << stored) - 1) << shift
    noise = np.random.default_rng(4).integers(0, 1 << allocated, values.shape)
    return ((noise & ~mask) | ((values << shift) & mask)).astype(kind)


def read(path: Path, **settings: Any) -> Image:
    return read_image(path, KEEP.model_copy(update=settings))


def said(image: Image) -> str:
    return " | ".join(f"{note.category}: {note.reason}" for note in image.remarks)


NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, DEFLATED_FRAME, UNCOMPRESSED_FRAME)


@pytest.mark.parametrize("syntax", NATIVE, ids=str)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("allocated", "stored", "high"),
    [
        (16, 12, 15),
        (16, 12, 11),
        (16, 12, 13),
        (16, 10, 9),
        (16, 16, 15),
        (8, 6, 7),
        (8, 7, 6),
        (32, 20, 31),
        (32, 16, 15),
    ],
)
def test_a_value_is_read_from_its_bits_and_from_no_others(tmp_path, syntax, signed, allocated, stored, high):
    values = picture(-(1 << (stored - 1)), (1 << (stored - 1)) - 1) if signed else picture(0, (1 << stored) - 1)
    path = written(
        tmp_path / "a.dcm",
        words_of(values, allocated, stored, high),
        stored=stored,
        high=high,
        signed=signed,
        syntax=syntax,
    )
    image = read(path)
    np.testing.assert_array_equal(image.pixels[0], values)
    assert image.deep
    assert image.remarks == ()


@pytest.mark.parametrize("allocated", [8, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_signed_values_of_8_bits_use_the_whole_grey_scale(tmp_path, allocated, photometric):
    values = picture(-128, 127)
    words = words_of(values, allocated, 8, allocated - 1)
    path = written(tmp_path / "a.dcm", words, stored=8, high=allocated - 1, signed=True, photometric=photometric)
    image = read(path)
    np.testing.assert_array_equal(image.pixels[0], values + 128 if photometric == "MONOCHROME2" else 127 - values)
    assert not image.deep


@pytest.mark.parametrize("syntax", NATIVE[:4], ids=str)
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize(
    ("allocated", "stored", "high"), [(8, 8, 7), (16, 12, 11), (16, 12, 15), (16, 8, 7), (16, 16, 15)]
)
def test_colour_has_its_whole_range_however_deep(tmp_path, syntax, planar, allocated, stored, high):
    values = picture(0, (1 << stored) - 1, (*SIDE, 3))
    words = words_of(values, allocated, stored, high)
    path = written(tmp_path / "a.dcm", words, stored=stored, high=high, photometric="RGB", planar=planar, syntax=syntax)
    expected = values.transpose(2, 0, 1) / ((1 << stored) - 1) * 255
    np.testing.assert_allclose(read(path).pixels, expected, atol=1e-3)


def test_colour_of_fewer_bits_than_its_header_says_is_not_black(tmp_path):
    values = picture(0, 4095, (*SIDE, 3)).astype(np.uint16)
    path = written(tmp_path / "a.dcm", values, stored=16, photometric="RGB")
    np.testing.assert_allclose(read(path).pixels, values.transpose(2, 0, 1) / 4095 * 255, atol=1e-3)


@pytest.mark.parametrize(("allocated", "stored"), [(8, 8), (16, 12)])
def test_luma_and_chroma_become_the_colours_that_they_were_made_of(tmp_path, allocated, stored):
    full, half = (1 << stored) - 1, 1 << (stored - 1)
    red, green, blue = picture(full // 4, full // 2, (*SIDE, 3)).transpose(2, 0, 1).astype(float)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue  # PS3.3, C.7.6.3.1.2
    ybr = [luma, (blue - luma) / 1.772 + half, (red - luma) / 1.402 + half]
    words = np.stack(ybr, axis=-1).round().astype(f"u{allocated // 8}")
    path = written(tmp_path / "a.dcm", words, stored=stored, photometric="YBR_FULL")
    rounding = 3 * 255 / full  # of three samples
    np.testing.assert_allclose(read(path).pixels, np.stack([red, green, blue]) / full * 255, atol=rounding)


def coded(path: Path, words: np.ndarray, syntax: UID, precision: int, **options: Any) -> Path:
    """A file whose codestream has samples of so many bits, whatever the header says."""
    from openjpeg.utils import encode_array

    colour = words.ndim == 3
    if syntax == JPEG2000Lossless:
        frame = encode_array(words, photometric_interpretation=1 if colour else 2, use_mct=False, bits_stored=precision)
    else:
        import jpeg_ls

        frame = jpeg_ls.encode_array(words, interleave_mode=2) if colour else jpeg_ls.encode_array(words)
    frame = bytes(frame[1]) if isinstance(frame, tuple) else bytes(frame)
    wide = words.astype(np.uint16) if options.pop("allocated", 16) == 16 else words
    from pydicom import dcmread

    data = dcmread(written(path, wide, photometric="RGB" if colour else "MONOCHROME2", **options))
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate([frame])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=str)
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("planar", [0, 1])
def test_a_codestream_of_8_bits_in_a_header_of_16(tmp_path, syntax, colour, planar):
    values = picture(0, 255, (*SIDE, 3) if colour else SIDE).astype(np.uint8)
    path = coded(tmp_path / "a.dcm", values, syntax, 8, stored=8, planar=planar * colour)
    image = read(path)
    np.testing.assert_array_equal(image.pixels, values.transpose(2, 0, 1) if colour else values[None])


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=str)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("precision", "high"), [(16, 15), (16, 11)])
def test_a_codestream_of_whole_words_has_values_where_the_header_says(tmp_path, syntax, signed, precision, high):
    values = picture(-2048, 2047) if signed else picture(0, 4095)
    words = words_of(values, 16, 12, high)
    path = coded(tmp_path / "a.dcm", words, syntax, precision, stored=12, high=high, signed=signed)
    np.testing.assert_array_equal(read(path).pixels[0], values)


def test_a_codestream_of_values_alone_is_not_shifted(tmp_path):
    values = picture(0, 4095).astype(np.uint16)
    path = coded(tmp_path / "a.dcm", values, JPEG2000Lossless, 12, stored=12, high=15)
    np.testing.assert_array_equal(read(path).pixels[0], values)


@pytest.mark.parametrize(("precision", "kind"), [(8, np.int8), (12, np.int16), (16, np.int16)])
def test_a_sign_that_the_codestream_alone_knows_of(tmp_path, precision, kind):
    values = picture(-(1 << (precision - 1)), (1 << (precision - 1)) - 1, (64, 64)).astype(kind)
    path = coded(tmp_path / "a.dcm", values, JPEG2000Lossless, precision, stored=precision)
    image = read(path)
    np.testing.assert_array_equal(image.pixels[0], values.astype(int) + 128 * (precision == 8))
    assert "header contradicted: its PixelRepresentation" in said(image)


@pytest.mark.parametrize("colour", [False, True])
def test_rle_in_fewer_bytes_than_its_header_says(tmp_path, colour):
    from pydicom import dcmread

    values = picture(0, 255, (*SIDE, 3) if colour else SIDE).astype(np.uint8)
    photometric = "RGB" if colour else "MONOCHROME2"
    data = dcmread(written(tmp_path / "a.dcm", values, stored=8, photometric=photometric, syntax=RLELossless))
    data.BitsAllocated = 16
    data.save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(
        read(tmp_path / "a.dcm").pixels, values.transpose(2, 0, 1) if colour else values[None]
    )


@pytest.mark.parametrize("high", [3, 7, 16, 200])
def test_a_high_bit_that_cannot_be_is_told(tmp_path, high):
    values = picture(0, 4095).astype(np.uint16)
    image = read(written(tmp_path / "a.dcm", values, stored=12, high=high))
    np.testing.assert_array_equal(image.pixels[0], values)
    assert said(image).startswith(f"header contradicted: its HighBit is {high}")


def test_the_largest_value_shows_where_values_lie(tmp_path):
    values = picture(0, 4095)
    words = values.astype(np.uint16)
    for stored, high in ((12, 15), (8, 7), (10, 9)):
        image = read(
            written(tmp_path / "a.dcm", words, ("LargestImagePixelValue", "US", 4095), stored=stored, high=high)
        )
        np.testing.assert_array_equal(image.pixels[0], values)
        assert said(image).startswith("header contradicted")
    right = written(tmp_path / "b.dcm", words << 4, ("LargestImagePixelValue", "US", 4095), stored=12, high=15)
    np.testing.assert_array_equal(read(right).pixels[0], values)
    assert read(right).remarks == ()
    unstated = read(written(tmp_path / "c.dcm", words, stored=12, high=15))
    np.testing.assert_array_equal(unstated.pixels[0], values)
    overlaid = written(tmp_path / "d.dcm", words, (0x60000102, "US", 0), stored=12, high=15)
    np.testing.assert_array_equal(read(overlaid).pixels[0], values >> 4)


def window(centre: object, width: object, function: str = "") -> list[Element]:
    form: list[Element] = [("VOILUTFunction", "CS", function)] if function else []
    return [("WindowCenter", "DS", centre), ("WindowWidth", "DS", width), *form]


SLOPE: list[Element] = [("RescaleSlope", "DS", "0.001"), ("RescaleIntercept", "DS", "0")]


def test_windows_narrower_than_one(tmp_path):
    values = picture(0, 4095)
    x = values * 0.001
    exact = np.clip((x - 2.0) / 0.5 + 0.5, 0, 1)  # PS3.3, C.11.2.1.3.2
    sigmoid = 1 / (1 + np.exp(-4 * (x - 2.0) / 0.5))  # C.11.2.1.3.1
    for function, expected in (("LINEAR_EXACT", exact), ("SIGMOID", sigmoid)):
        path = written(tmp_path / "a.dcm", values.astype(np.uint16), *SLOPE, *window("2.0", "0.5", function), stored=12)
        image = read(path)
        np.testing.assert_allclose(image.pixels[0], expected, atol=1e-6)
        assert image.remarks == ()
    image = read(written(tmp_path / "b.dcm", values.astype(np.uint16), *SLOPE, *window("2.0", "0.5"), stored=12))
    np.testing.assert_allclose(image.pixels[0], x, rtol=1e-6)
    assert said(image) == (
        "display transform left out: its window was left out, for it has a width of 0.5, which a LINEAR window cannot "
        "have; its values were taken without"
    )


def test_a_linear_window_of_one_is_a_threshold(tmp_path):
    values = picture(0, 4095)
    image = read(written(tmp_path / "a.dcm", values.astype(np.uint16), *window("2000", "1"), stored=12))
    np.testing.assert_array_equal(image.pixels[0], values > 1999.5)  # PS3.3, C.11.2.1.2.1


@pytest.mark.parametrize(
    "elements",
    [
        window("2000", "400", "CUBIC"),
        window("2000", "0", "SIGMOID"),
        window("2000", "-5", "LINEAR_EXACT"),
        window("90000", "5"),
        window("", "5"),
        [("WindowWidth", "DS", "100")],
    ],
    ids=lambda elements: " ".join(str(value) for _, _, value in elements),
)
def test_a_window_that_cannot_be_applied_is_told(tmp_path, elements):
    values = picture(0, 4095).astype(np.uint16)
    image = read(written(tmp_path / "a.dcm", values, *elements, stored=12))
    np.testing.assert_array_equal(image.pixels[0], values)
    assert said(image).startswith("display transform left out: its window was left out")
    assert read(tmp_path / "a.dcm", voi="none").remarks == ()


def test_the_next_window_takes_the_place_of_one_that_cannot_be_applied(tmp_path):
    values = picture(0, 4095).astype(np.uint16)
    path = written(tmp_path / "a.dcm", values, *window(["9", "2000"], ["0", "1001"]), stored=12)
    image = read(path)
    np.testing.assert_allclose(image.pixels[0], np.clip((values - 1999.5) / 1000 + 0.5, 0, 1), atol=1e-6)
    assert said(image).endswith("another window was taken")


def test_a_window_that_shows_padding_alone_shows_nothing(tmp_path):
    values = picture(1000, 4095).astype(np.uint16)
    values[:3] = 0
    more = [("PixelPaddingValue", "US", 0), *window("500", "100")]
    np.testing.assert_array_equal(read(written(tmp_path / "a.dcm", values, *more, stored=12)).pixels[0], values)


@pytest.mark.parametrize(
    ("allocated", "stored", "signed", "vr", "first", "limit", "padded"),
    [
        (16, 16, True, "US", 63536, None, (-2000, -2000)),
        (16, 16, True, "SS", -2000, None, (-2000, -2000)),
        (16, 16, False, "SS", -2000, None, (63536, 63536)),
        (16, 16, True, "US", 32768, 34000, (-32768, -31536)),
        (16, 12, True, "US", 65000, 65010, (-536, -526)),
        (16, 12, True, "US", 2048, None, (-2048, -2048)),
        (16, 12, False, "US", 4000, 4095, (4000, 4095)),
        (8, 8, True, "US", 128, None, (-128, -128)),
        (16, 12, False, "SS", -2000, None, (1, 0)),
    ],
)
def test_padding_whatever_the_sign_of_its_element(tmp_path, allocated, stored, signed, vr, first, limit, padded):
    low = -(1 << (stored - 1)) if signed else 0
    values = picture(low, low + (1 << stored) - 1)
    values[4, 2:9] = padded[0] if padded[0] <= padded[1] else values[4, 2:9]
    more: list[Element] = [("PixelPaddingValue", vr, first)]
    more += [("PixelPaddingRangeLimit", vr, limit)] if limit is not None else []
    path = written(
        tmp_path / "a.dcm", words_of(values, allocated, stored, stored - 1), *more, stored=stored, signed=signed
    )
    np.testing.assert_array_equal(read(path).padding, (values >= padded[0]) & (values <= padded[1]))


FORMS = {
    "words": lambda entries: ("US", entries.astype(int).tolist()),
    "bytes of words": lambda entries: ("OW", entries.astype("<u2").tobytes()),
    "packed": lambda entries: ("OW", entries.astype("u1").tobytes()),
    "packed in words": lambda entries: (
        "US",
        np.frombuffer(entries.astype("u1").tobytes(), "<u2").astype(int).tolist(),
    ),
    "bytes": lambda entries: ("OB", entries.astype("u1").tobytes()),
}


def table(
    entries: np.ndarray, form: str, *, first: int = 0, bits: int = 8, vr: str = "US", count: int | None = None
) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [(len(entries) if count is None else count) % 65536, first, bits])
    item.add_new("LUTData", *FORMS[form](entries))
    return item


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bits", [8, 16])
def test_tables_of_8_bits_in_whatever_form(tmp_path, keyword, form, bits):
    values = picture(0, 255).astype(np.uint8)
    entries = np.random.default_rng(5).permutation(256)
    path = written(tmp_path / "a.dcm", values, (keyword, "SQ", Sequence([table(entries, form, bits=bits)])), stored=8)
    image = read(path)
    np.testing.assert_array_equal(image.pixels[0], entries[values])
    assert image.remarks == ()


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_table_of_65536_entries_is_said_to_have_none(tmp_path, keyword):
    values = picture(0, 65535).astype(np.uint16)
    entries = np.random.default_rng(5).permutation(65536)
    item = table(entries, "bytes of words", bits=16)
    assert item.LUTDescriptor[0] == 0
    image = read(written(tmp_path / "a.dcm", values, (keyword, "SQ", Sequence([item])), stored=16))
    np.testing.assert_array_equal(image.pixels[0], entries[values])


@pytest.mark.parametrize(("vr", "first"), [("SS", -700), ("US", 65536 - 700)])
@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_the_first_value_of_a_table_may_be_negative_and_the_rest_is_clamped(tmp_path, vr, first, keyword):
    values = picture(-2048, 2047)
    entries = np.random.default_rng(5).integers(0, 4096, 1000)
    item = table(entries, "bytes of words", first=first, bits=12, vr=vr)
    words = words_of(values, 16, 12, 11)
    image = read(written(tmp_path / "a.dcm", words, (keyword, "SQ", Sequence([item])), stored=12, signed=True))
    np.testing.assert_array_equal(image.pixels[0], entries[np.clip(values + 700, 0, 999)])


def test_a_table_after_rescaling_gets_rescaled_values(tmp_path):
    values = picture(0, 4095)
    entries = np.random.default_rng(5).integers(0, 4096, 4096)
    item = table(entries, "words", first=-1024, bits=12, vr="SS")
    rescale: list[Element] = [("RescaleSlope", "DS", "1"), ("RescaleIntercept", "DS", "-1024")]
    path = written(
        tmp_path / "a.dcm", values.astype(np.uint16), *rescale, ("VOILUTSequence", "SQ", Sequence([item])), stored=12
    )
    np.testing.assert_array_equal(read(path).pixels[0], entries[values])


def broken() -> dict[str, Dataset]:
    entries = np.arange(4096)
    none, short, bits, empty = (table(entries, "bytes of words", bits=12) for _ in range(4))
    del none.LUTDescriptor
    short.LUTData = short.LUTData[:100]
    bits.LUTDescriptor = [4096, 0, 0]
    empty.LUTData = b""
    return {
        "no descriptor": none,
        "too few entries": short,
        "no bits": bits,
        "no data": empty,
        "no elements": Dataset(),
    }


@pytest.mark.parametrize("what", broken())
def test_a_table_that_cannot_be_applied_gives_way_to_the_next_transform(tmp_path, what):
    values = picture(0, 4095).astype(np.uint16)
    sequence = ("VOILUTSequence", "SQ", Sequence([broken()[what]]))
    image = read(written(tmp_path / "a.dcm", values, sequence, *window("2000", "1001"), stored=12))
    np.testing.assert_allclose(image.pixels[0], np.clip((values - 1999.5) / 1000 + 0.5, 0, 1), atol=1e-6)
    assert said(image).startswith("display transform left out: its VOI LUT was left out, for it has")
    assert said(image).endswith("its window was taken")
    alone = read(written(tmp_path / "b.dcm", values, sequence, stored=12))
    np.testing.assert_array_equal(alone.pixels[0], values)
    assert said(alone).endswith("its values were taken without")


def test_what_is_for_the_output_of_a_modality_lut_is_not_applied_without_it(tmp_path):
    values = picture(0, 4095).astype(np.uint16)
    sequence = ("ModalityLUTSequence", "SQ", Sequence([broken()["too few entries"]]))
    image = read(written(tmp_path / "a.dcm", values, sequence, *window("2000", "1001"), stored=12))
    np.testing.assert_array_equal(image.pixels[0], values)
    assert "its modality LUT was left out" in said(image)
    assert "its window was left out" in said(image)
    rescale: list[Element] = [("RescaleSlope", "DS", "2"), ("RescaleIntercept", "DS", "-100")]
    image = read(written(tmp_path / "b.dcm", values, sequence, *rescale, stored=12))
    np.testing.assert_array_equal(image.pixels[0], values * 2.0 - 100)
    assert said(image).endswith("its rescaling was taken")


@pytest.mark.parametrize("element", [("VOILUTSequence", "DS", "1"), ("VOILUTSequence", "LO", "words")], ids=str)
def test_a_sequence_that_is_none_is_left_out(tmp_path, element):
    values = picture(0, 4095).astype(np.uint16)
    image = read(written(tmp_path / "a.dcm", values, element, stored=12))
    np.testing.assert_array_equal(image.pixels[0], values)
    assert said(image).startswith("display transform left out: its VOI LUT was left out")


def test_a_rescaling_beyond_what_can_be_told_apart_is_left_out(tmp_path):
    values = picture(0, 4095).astype(np.uint16)
    more: list[Element] = [("RescaleSlope", "DS", "1"), ("RescaleIntercept", "DS", "99999999999999")]
    image = read(written(tmp_path / "a.dcm", values, *more, stored=12))
    np.testing.assert_array_equal(image.pixels[0], values)
    assert "its rescaling was left out, for it leaves no values that differ" in said(image)


@pytest.mark.parametrize("slope", ["0", "", "1e300"])
def test_a_rescaling_that_leaves_nothing_is_left_out(tmp_path, slope):
    values = picture(0, 4095).astype(np.uint16)
    intercept = "-1024" if slope != "1e300" else "1.7e308"
    more: list[Element] = [("RescaleSlope", "DS", slope), ("RescaleIntercept", "DS", intercept)]
    image = read(written(tmp_path / "a.dcm", values, *more, stored=12))
    np.testing.assert_array_equal(image.pixels[0], values if slope else values - 1024.0)
    assert said(image).startswith("display transform left out: its rescaling was left out") == bool(slope)


def palette(entries: np.ndarray, form: str, *, first: int = 0, bits: int, vr: str = "US") -> list[Element]:
    """Elements of a palette (n, 3)."""
    elements: list[Element] = []
    for n, colour in enumerate(("Red", "Green", "Blue")):
        name = f"{colour}PaletteColorLookupTable"
        elements.append((f"{name}Descriptor", vr, [len(entries) % 65536, first, bits]))
        elements.append((f"{name}Data", *FORMS[form](entries[:, n])))
    return elements


@pytest.mark.parametrize(
    ("form", "bits", "top"),
    [("bytes of words", 16, 65535), ("bytes of words", 8, 255), ("packed", 8, 255), ("bytes of words", 16, 255)],
)
def test_palettes(tmp_path, form, bits, top):
    values = picture(-500, 1500)
    entries = picture(0, top, (1000, 3))
    more = palette(entries, form, first=-100, bits=bits, vr="SS")
    words = words_of(values, 16, 12, 15)
    path = written(tmp_path / "a.dcm", words, *more, stored=12, high=15, signed=True, photometric="PALETTE COLOR")
    expected = entries[np.clip(values + 100, 0, 999)].transpose(2, 0, 1) / top * 255
    np.testing.assert_allclose(read(path).pixels, expected, atol=1e-3)


def refusal(path: Path) -> tuple[str, str]:
    with pytest.raises(RejectedFile) as refused:
        read(path)
    return refused.value.category, refused.value.reason


NAMED = tuple(
    map(
        UID, ("1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.102.1", "1.2.840.10008.1.2.7.1")
    )
)
"""Syntaxes of several lengths that pydicom knows and does not decode."""


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
        ("1.2.840.10008.1.2.4.111", "JPEG XL JPEG Recompression"),
        ("1.2.840.10008.1.2.4.112", "JPEG XL"),
        ("1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2"),
        ("1.2.840.10008.1.2.4.94", "JPIP Referenced"),
        ("1.2.840.10008.1.2.4.204", "JPIP HTJ2K Referenced"),
        ("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile"),
        ("1.2.840.10008.1.2.4.102.1", "Fragmentable MPEG-4"),
        ("1.2.840.10008.1.2.4.107", "HEVC/H.265"),
        ("1.2.840.10008.1.2.7.1", "SMPTE ST 2110-20"),
        ("1.2.840.10008.1.2.4.66", "JPEG Lossless, Hierarchical"),
        ("1.2.840.10008.1.2.4.250", "1.2.840.10008.1.2.4.250"),
    ],
)
@pytest.mark.parametrize("pixels", [True, False])
def test_a_coding_that_nothing_decodes_is_named(tmp_path, uid, name, pixels):
    from pydicom import dcmread

    data = dcmread(written(tmp_path / "a.dcm", picture(0, 255).astype(np.uint8), ("NumberOfFrames", "IS", 9), stored=8))
    stand_in = next(known for known in NAMED if (len(known) + 1) // 2 == (len(uid) + 1) // 2 and known.name != known)
    data.file_meta.TransferSyntaxUID = stand_in
    if pixels:
        data.PixelData = encapsulate([data.PixelData])
        data["PixelData"].is_undefined_length = True
    else:
        del data.PixelData
    data.save_as(tmp_path / "a.dcm", implicit_vr=False, little_endian=True)
    category, reason = refusal(renamed(tmp_path / "a.dcm", stand_in, UID(uid)))
    assert category == "unsupported coding"
    assert name in reason


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"])
def test_a_deflated_data_set_without_pixels_is_named(tmp_path, uid):
    content = written(tmp_path / "a.dcm", picture(0, 255).astype(np.uint8), stored=8).read_bytes()
    begin = 144 + int.from_bytes(content[140:144], "little")
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(uid)
    head = Dataset()
    head.file_meta, head.SOPClassUID, head.SOPInstanceUID = meta, SecondaryCaptureImageStorage, "1.2.3"
    head.save_as(tmp_path / "b.dcm", implicit_vr=False, little_endian=True, enforce_file_format=True)
    start = (tmp_path / "b.dcm").read_bytes()
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(content[begin:]) + packer.flush()
    (tmp_path / "b.dcm").write_bytes(start[: 144 + int.from_bytes(start[140:144], "little")] + packed)
    category, reason = refusal(tmp_path / "b.dcm")
    assert category == "unsupported coding"
    assert "Deflate" in reason


def test_a_private_coding_is_not_quoted(tmp_path):
    from pydicom import dcmread

    data = dcmread(written(tmp_path / "a.dcm", picture(0, 255).astype(np.uint8), stored=8))
    data.file_meta.TransferSyntaxUID = UID("1.3.46.670589.33.1.4.1")
    data.save_as(tmp_path / "a.dcm", implicit_vr=False, little_endian=True)
    category, reason = refusal(tmp_path / "a.dcm")
    assert (category, "670589" in reason) == ("unknown coding", False)


def framed(path: Path, frame: bytes) -> Path:
    from pydicom import dcmread

    data = dcmread(written(path, picture(0, 4095).astype(np.uint16), stored=12, syntax=UNCOMPRESSED_FRAME))
    data.PixelData = encapsulate([frame])
    data["PixelData"].is_undefined_length = True
    data.save_as(path)
    return renamed(path, UNCOMPRESSED_FRAME, DEFLATED_FRAME)


def test_deflated_frames_with_a_zlib_header_cut_short_and_too_long(tmp_path):
    pixels = picture(0, 4095).astype("<u2").tobytes()
    np.testing.assert_array_equal(read(framed(tmp_path / "a.dcm", zlib.compress(pixels))).pixels[0], picture(0, 4095))
    assert refusal(framed(tmp_path / "b.dcm", zlib.compress(pixels)[:-40]))[0] == "truncated"
    assert refusal(framed(tmp_path / "c.dcm", zlib.compress(bytes(50_000_000))))[0] == "size mismatch"
    assert refusal(framed(tmp_path / "d.dcm", b"\xff" * 80))[0] == "cannot be decoded"


@pytest.mark.parametrize("name", ["Rows", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation"])
def test_an_element_without_which_no_value_is_found_is_named(tmp_path, name):
    from pydicom import dcmread

    data = dcmread(written(tmp_path / "a.dcm", picture(0, 255).astype(np.uint8), stored=8))
    data[name].value = None
    data.save_as(tmp_path / "b.dcm")
    delattr(data, name)
    data.save_as(tmp_path / "a.dcm")
    assert refusal(tmp_path / "a.dcm") == refusal(tmp_path / "b.dcm") == ("unreadable", f"its header lacks {name}")


@pytest.mark.parametrize(
    ("name", "value"),
    [("BitsAllocated", 12), ("BitsStored", 17), ("BitsStored", 0), ("SamplesPerPixel", 4), ("PixelRepresentation", 2)],
)
def test_an_element_that_no_pixels_have_is_named(tmp_path, name, value):
    from pydicom import dcmread

    data = dcmread(written(tmp_path / "a.dcm", picture(0, 255).astype(np.uint16), stored=8))
    setattr(data, name, value)
    data.save_as(tmp_path / "a.dcm")
    category, reason = refusal(tmp_path / "a.dcm")
    assert (category, f"{name} is {value}" in reason) == ("unreadable", True)


@pytest.mark.parametrize("end", [b"\xff" * 1000, b"\0" * 1000, b"abc1" * 250])
def test_bytes_after_the_pixels_are_not_read(tmp_path, end):
    values = picture(0, 4095)
    path = written(tmp_path / "a.dcm", values.astype(np.uint16), stored=12)
    path.write_bytes(path.read_bytes() + end)
    np.testing.assert_array_equal(read(path).pixels[0], values)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("allocated", [8, 16])
def test_jpeg_of_8_bits_in_whatever_header(tmp_path, colour, planar, allocated):
    import io

    from PIL import Image as Pillow
    from pydicom import dcmread
    from pydicom.uid import JPEGBaseline8Bit

    smooth = np.add.outer(np.arange(40), np.arange(47)) * 2
    values = (np.stack([smooth, smooth[:, ::-1], smooth[::-1]], axis=-1) if colour else smooth).astype(np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(values).save(buffer, "JPEG", quality=100, subsampling=0)
    wide, photometric = values.astype(f"u{allocated // 8}"), "YBR_FULL_422" if colour else "MONOCHROME2"
    data = dcmread(written(tmp_path / "a.dcm", wide, stored=8, photometric=photometric, planar=planar * colour))
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.PixelData = encapsulate([buffer.getvalue()])
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    expected = values.transpose(2, 0, 1) if colour else values[None]
    np.testing.assert_allclose(read(tmp_path / "a.dcm").pixels, expected, atol=4)
