"""Files that unpack to far more than they are: refused before any memory is taken for it, and honest ones read."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medistill.data import dicom_file, dicom_image, radiograph
from medistill.data.codestream import coded_size
from medistill.data.radiograph import read_image
from medistill.data.refusal import RejectedFile
from medistill.recipe import DataRecipe
from tests.factories.deflated import deflated_from
from tests.unit.data.test_radiograph import ramp, write

KEEP = DataRecipe(view_policy="keep", image_size=16)
MIB = 2**20


def deflated(path: Path, padding: int, **elements: object) -> Path:
    """A deflated file whose data set ends in so many MiB of padding."""
    path.write_bytes(deflated_from(write(path, ramp(), **elements), padding))
    return path


def refusal(path: Path) -> tuple[str, str]:
    with pytest.raises(RejectedFile) as refused:
        read_image(path, KEEP)
    return refused.value.category, refused.value.reason


def peak(path: Path) -> int:
    """Bytes that Python takes at most while it refuses a file."""
    tracemalloc.start()
    try:
        refusal(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_deflated_file_is_read(tmp_path):
    np.testing.assert_array_equal(read_image(deflated(tmp_path / "a.dcm", 1), KEEP).pixels[0], ramp())


def test_a_deflated_bomb_is_unpacked_no_further_than_its_header_needs(tmp_path):
    bomb = deflated(tmp_path / "a.dcm", 200)
    assert bomb.stat().st_size < MIB
    category, reason = refusal(bomb)
    assert (category, "16 MiB" in reason) == ("too large", True)
    assert peak(bomb) < 100 * MIB


@pytest.mark.parametrize(
    ("elements", "category"),
    [({"Rows": 60000, "Columns": 60000}, "too large"), ({"NumberOfFrames": 2**30}, "several frames")],
)
def test_a_deflated_bomb_that_claims_to_need_it_is_refused_for_that(tmp_path, elements, category):
    bomb = deflated(tmp_path / "a.dcm", 100, **elements)
    assert refusal(bomb)[0] == category
    assert peak(bomb) < 100 * MIB


def test_a_deflated_file_that_is_cut_short_is_refused(tmp_path):
    path = deflated(tmp_path / "a.dcm", 30, Rows=4000, Columns=4000)
    path.write_bytes(path.read_bytes()[:-20])
    assert refusal(path)[0] == "unreadable"


def test_the_header_of_a_bomb_can_be_read_alone(tmp_path):
    with deflated(tmp_path / "a.dcm", 100).open("rb") as file:
        tracemalloc.start()
        read = dicom_file.read_data_set(file, only=("SOPInstanceUID",))
        assert tracemalloc.get_traced_memory()[1] < 100 * MIB
        tracemalloc.stop()
    assert list(read.keys()) == [0x00080018]


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "JPEG", quality=100)
    return buffer.getvalue()


def lossless_jpeg(pixels: np.ndarray) -> bytes:
    """A lossless JPEG of one grey level (T.81, H): nothing installed here writes one."""
    rows, columns = pixels.shape
    frame = b"\xff\xc3" + struct.pack(">HBHHB3B", 11, 8, rows, columns, 1, 1, 0x11, 0)
    table = b"\xff\xc4" + struct.pack(">HB", 20, 0) + bytes([1]) + bytes(15) + bytes([0])
    return b"\xff\xd8" + frame + table + b"\xff\xda\x00\x08\x01\x01\x00\x01\x00\x00" + bytes(100) + b"\xff\xd9"


def coded(path: Path, syntax: UID) -> Dataset:
    """An 8-bit file of 48 x 72 pixels in a coding."""
    pixels = ramp(48, 72, 255).astype(np.uint8)
    dataset = dcmread(write(path, pixels, bits=8))
    if syntax in (JPEGBaseline8Bit, JPEGLosslessSV1):
        frame = jpeg(pixels) if syntax == JPEGBaseline8Bit else lossless_jpeg(pixels)
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    elif syntax == HTJ2KLossless:  # the segment that says the size is that of JPEG 2000
        dataset.compress(JPEG2000Lossless)
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        dataset.compress(syntax)
    return dataset


PLACES = {
    JPEG2000Lossless: (b"\xff\x4f\xff\x51", 8, ">II", (60000, 60000)),
    HTJ2KLossless: (b"\xff\x4f\xff\x51", 8, ">II", (60000, 60000)),
    JPEGLSLossless: (b"\xff\xf7", 5, ">HH", (60000, 60000)),
    JPEGBaseline8Bit: (b"\xff\xc0", 5, ">HH", (60000, 60000)),
    JPEGLosslessSV1: (b"\xff\xc3", 5, ">HH", (60000, 60000)),
}
"""Where a codestream says its size: a marker, bytes from it, the form, and a size of 3.6 thousand million pixels."""


@pytest.mark.parametrize("syntax", [*PLACES, RLELossless], ids=lambda syntax: syntax.name)
def test_a_codestream_of_another_size_than_the_header_is_refused_before_it_is_decoded(tmp_path, monkeypatch, syntax):
    dataset = coded(tmp_path / "a.dcm", syntax)
    content = bytearray(dataset.PixelData)
    if syntax == RLELossless:
        dataset.PixelData = encapsulate([bytes(content[16:80]) + b"\x81\x00" * 4000])
    else:
        marker, away, form, size = PLACES[syntax]
        struct.pack_into(form, content, content.index(marker) + away, *size)
        dataset.PixelData = bytes(content)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)

    def decoded(*arguments: object, **options: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.as_array", decoded)
    category, reason = refusal(tmp_path / "a.dcm")
    assert category == "size mismatch"
    assert ("RLE" in reason) if syntax == RLELossless else ("60000 x 60000" in reason and "48 x 72" in reason)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, JPEGBaseline8Bit, RLELossless])
def test_a_codestream_of_the_size_in_the_header_is_read(tmp_path, syntax):
    coded(tmp_path / "a.dcm", syntax).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    lossy = 3 if syntax == JPEGBaseline8Bit else 0
    read = read_image(tmp_path / "a.dcm", KEEP).pixels[0]
    assert np.abs(read - ramp(48, 72, 255)).max() <= lossy


@pytest.mark.parametrize("name", ["", "L", "RGB"])
def test_sizes_of_codestreams_as_pillow_writes_them(name):
    picture = Pillow.new(name or "L", (70, 50))
    sizes = []
    for form in ("JPEG", "JPEG2000"):
        buffer = io.BytesIO()
        options = {"no_jp2": not name} if form == "JPEG2000" else {"progressive": not name}
        picture.save(buffer, form, **options)
        sizes.append(coded_size(buffer.getvalue()))
        for end in (0, 3, 10, 30):
            assert coded_size(buffer.getvalue()[:end]) is None
    assert sizes == [(50, 70, len(picture.getbands()), 8, False)] * 2


def test_a_codestream_that_says_no_size_is_refused(tmp_path):
    dataset = coded(tmp_path / "a.dcm", JPEGBaseline8Bit)
    dataset.PixelData = encapsulate([b"\xff\xd8" + b"no markers" * 20])
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert refusal(tmp_path / "a.dcm")[0] == "cannot be decoded"


@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_nifti_file_of_which_much_unpacks_before_its_values_is_refused(tmp_path, version):
    image = version(ramp().T[:, ::-1], None)
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii", KEEP).pixels[0], ramp()[::-1])
    content = bytearray((tmp_path / "a.nii").read_bytes())
    first = version is nibabel.Nifti1Image
    struct.pack_into("<f" if first else "<q", content, 108 if first else 168, 200 * MIB)
    at = 348 if first else 540
    extension = struct.pack("<4Bii", 1, 0, 0, 0, 200 * MIB - at - 4 - 16, 4)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(content[:at]) + extension + bytes(200 * MIB), 1, mtime=0))
    assert refusal(tmp_path / "b.nii.gz")[0] == "too large"
    assert peak(tmp_path / "b.nii.gz") < 20 * MIB


def test_a_file_larger_than_any_image_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(radiograph, "MOST_BYTES", 1000)
    assert refusal(write(tmp_path / "a.dcm", ramp()))[0] == "too large"


def test_sequences_in_sequences_end_in_a_refusal(tmp_path):
    content = write(tmp_path / "a.dcm", ramp()).read_bytes()
    deep = struct.pack("<HH2sHIHHI", 0x0008, 0x1140, b"SQ", 0, 2**32 - 1, 0xFFFE, 0xE000, 2**32 - 1) * 50_000
    begin = 144 + struct.unpack_from("<I", content, 140)[0]
    (tmp_path / "b.dcm").write_bytes(content[:begin] + deep)
    assert refusal(tmp_path / "b.dcm")[0] in ("unreadable", "no pixels")


def test_a_length_of_four_gigabytes_takes_no_memory(tmp_path):
    content = write(tmp_path / "a.dcm", ramp()).read_bytes()
    at = content.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW")) + 8
    (tmp_path / "b.dcm").write_bytes(content[:at] + struct.pack("<I", 2**32 - 2) + content[at + 4 : at + 104])
    assert refusal(tmp_path / "b.dcm")[0] in ("truncated", "unreadable", "no pixels")


def test_memory_that_runs_out_is_no_damaged_header(tmp_path, monkeypatch):
    def short(file: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(dicom_image, "read_data_set", short)
    with pytest.raises(MemoryError):
        read_image(write(tmp_path / "a.dcm", ramp()), KEEP)
