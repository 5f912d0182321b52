"""Reading one file, against pydicom, Pillow and NumPy used directly."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage, generate_uid

from medistill.data.radiograph import radiograph_pipeline, read_image
from medistill.data.refusal import RejectedFile
from medistill.data.view import view_of, view_words
from medistill.recipe import DataRecipe

KEEP = DataRecipe(view_policy="keep", image_size=16)


def ramp(height: int = 20, width: int = 30, top: int = 4095) -> np.ndarray:
    """Dark on the left, bright on the right, and brighter towards the bottom: no turn or mirror leaves it as it is."""
    rows, columns = np.mgrid[:height, :width]
    return ((columns / (width - 1) * 0.8 + rows / (height - 1) * 0.2) * top).round().astype(np.uint16)


def write(path: Path, pixels: np.ndarray, *, bits: int = 12, photometric: str = "MONOCHROME2", **elements) -> Path:
    """A DICOM file with the least that an image needs."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    dataset.PatientID, dataset.PatientName = "ID-4711", "Invented^Person"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def lut(entries: np.ndarray, keyword: str) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), 0, 16])
    item.add_new("LUTData", "US", entries.astype(int).tolist())
    if keyword == "ModalityLUTSequence":
        item.ModalityLUTType = "US"
    return Sequence([item])


def shown(path: Path, recipe: DataRecipe = KEEP) -> np.ndarray:
    return np.asarray(radiograph_pipeline(recipe)({"image": str(path)})["image"])


def test_rows_are_rows_and_columns_are_columns(tmp_path):
    pixels = ramp()
    image = read_image(write(tmp_path / "a.dcm", pixels), KEEP)
    np.testing.assert_array_equal(image.pixels[0], pixels)
    Pillow.fromarray((pixels // 16).astype(np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", KEEP).pixels[0], pixels // 16)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["", "IDENTITY", "INVERSE"])
@pytest.mark.parametrize("deep", [True, False])
def test_inverted_exactly_once(tmp_path, photometric, shape, deep):
    pixels = ramp() if deep else ramp(top=250).astype(np.uint8)
    more = {"PresentationLUTShape": shape} if shape else {}
    path = write(tmp_path / "a.dcm", pixels, bits=12 if deep else 8, photometric=photometric, **more)
    picture = shown(path)[0]
    inverse = photometric == "MONOCHROME1" or shape == "INVERSE"
    assert (picture[:, 0].mean() > picture[:, -1].mean()) == inverse
    if not deep:
        expected = 255 - pixels.astype(float) if inverse else pixels.astype(float)
        np.testing.assert_array_equal(read_image(path, KEEP).pixels[0], expected)


def test_rescale_then_window(tmp_path):
    pixels = ramp()
    path = write(
        tmp_path / "a.dcm",
        pixels,
        RescaleSlope=2,
        RescaleIntercept=-1000,
        WindowCenter=[3000, 1],
        WindowWidth=[2000, 1],
    )
    values = pixels * 2.0 - 1000
    expected = np.clip((values - (3000 - 0.5)) / (2000 - 1) + 0.5, 0, 1)
    told = read_image(path, KEEP).pixels[0]
    told = (told - told.min()) / np.ptp(told)
    np.testing.assert_allclose(told, (expected - expected.min()) / np.ptp(expected), atol=1e-5)


def test_policies_of_the_display_transform(tmp_path):
    pixels = ramp(top=255)
    table = (np.arange(256) ** 2) // 4
    path = write(
        tmp_path / "a.dcm", pixels, bits=8, VOILUTSequence=lut(table, "VOILUTSequence"), WindowCenter=50, WindowWidth=60
    )

    def told(voi: str) -> np.ndarray:
        return read_image(path, DataRecipe(view_policy="keep", voi=voi)).pixels[0]

    np.testing.assert_array_equal(told("auto"), table[pixels])
    np.testing.assert_array_equal(told("lut"), table[pixels])
    np.testing.assert_array_equal(told("none"), pixels)
    window = np.clip((pixels - 49.5) / 59 + 0.5, 0, 1)
    np.testing.assert_allclose(told("window") / np.ptp(told("window")), window, atol=1e-5)


def test_a_window_that_shows_nothing_is_ignored(tmp_path):
    pixels = ramp() + np.uint16(20000)
    path = write(tmp_path / "a.dcm", pixels, bits=16, WindowCenter=100, WindowWidth=50)
    np.testing.assert_array_equal(read_image(path, KEEP).pixels[0], pixels)


def test_modality_lut_sequence(tmp_path):
    pixels = ramp(top=255)
    table = np.arange(256)[::-1] * 16
    path = write(tmp_path / "a.dcm", pixels, bits=8, ModalityLUTSequence=lut(table, "ModalityLUTSequence"))
    np.testing.assert_array_equal(read_image(path, KEEP).pixels[0], table[pixels])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_set_the_scale(tmp_path, photometric):
    pixels = ramp(16, 16, top=1000) + np.uint16(500)
    pixels[:4] = 4095
    path = write(tmp_path / "a.dcm", pixels, photometric=photometric, PixelPaddingValue=4095)
    picture = shown(path)[0]
    assert (picture[:4] == 0).all()
    inside = pixels[4:].astype(float)
    inside = inside if photometric == "MONOCHROME2" else -inside
    low, high = np.percentile(inside, [0.5, 99.5])
    np.testing.assert_allclose(picture[4:], np.clip((inside - low) / (high - low) * 255, 0, 255), atol=0.01)


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_square(tmp_path, fit):
    pixels = ramp(32, 64, top=255).astype(np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / "a.png")
    picture = shown(tmp_path / "a.png", DataRecipe(image_size=16, fit=fit))[0]
    if fit == "stretch":
        expected = pixels.reshape(16, 2, 16, 4).mean(axis=(1, 3))
    elif fit == "crop":
        expected = pixels[:, 16:48].reshape(16, 2, 16, 2).mean(axis=(1, 3))
    else:
        expected = np.pad(pixels, ((16, 16), (0, 0))).reshape(16, 4, 16, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(picture, expected, atol=1e-3)


def test_sixteen_bit_png_keeps_its_depth(tmp_path):
    pixels = ramp(16, 16, top=60000)
    Pillow.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", KEEP)
    assert image.deep
    np.testing.assert_array_equal(image.pixels[0], pixels)
    low, high = np.percentile(pixels, [0.5, 99.5])
    np.testing.assert_allclose(
        shown(tmp_path / "a.png")[0], np.clip((pixels - low) / (high - low) * 255, 0, 255), atol=0.1
    )


def test_transparency(tmp_path):
    grey = ramp(16, 16, top=255).astype(np.uint8)
    opaque = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    Pillow.fromarray(opaque).save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read_image(tmp_path / "opaque.png", KEEP).pixels, grey[None])
    opaque[0, 0, 3] = 0
    Pillow.fromarray(opaque).save(tmp_path / "holes.png")
    with pytest.raises(RejectedFile, match="transparent"):
        read_image(tmp_path / "holes.png", KEEP)


def test_colour_becomes_luma_and_grey_becomes_three_channels(tmp_path):
    colour = np.zeros((16, 16, 3), np.uint8)
    colour[:, :8] = (200, 100, 50)
    Pillow.fromarray(colour).save(tmp_path / "c.png")
    assert shown(tmp_path / "c.png")[0, 0, 0] == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50, abs=1e-3)
    Pillow.fromarray(colour[:, :, 0]).save(tmp_path / "g.png")
    assert shown(tmp_path / "g.png", DataRecipe(image_size=16, channels=3)).shape == (3, 16, 16)


def test_exif_orientation_is_followed(tmp_path):
    pixels = ramp(16, 24, top=255).astype(np.uint8)
    tags = Pillow.Exif()
    tags[0x0112] = 6  # to be turned a quarter clockwise
    Pillow.fromarray(pixels).save(tmp_path / "a.png", exif=tags)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", KEEP).pixels[0], np.rot90(pixels, -1))


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_nifti(tmp_path, ending):
    pixels = ramp(16, 24)
    stored = pixels.T[:, :, None].astype(np.float32)
    unoriented = nibabel.Nifti1Image(stored, None)
    nibabel.save(unoriented, tmp_path / f"u.{ending}")
    np.testing.assert_array_equal(read_image(tmp_path / f"u.{ending}", KEEP).pixels[0], pixels)
    # columns run to the patient's left, rows to the back: what DICOM converters write, in RAS both axes negative
    nibabel.save(nibabel.Nifti1Image(stored, np.diag([-1.0, -1, 1, 1])), tmp_path / f"o.{ending}")
    np.testing.assert_array_equal(read_image(tmp_path / f"o.{ending}", KEEP).pixels[0], pixels)
    nibabel.save(nibabel.Nifti1Image(stored[::-1], np.diag([1.0, -1, 1, 1])), tmp_path / f"f.{ending}")
    np.testing.assert_array_equal(read_image(tmp_path / f"f.{ending}", KEEP).pixels[0], pixels)


def test_a_volume_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 3), np.float32), np.eye(4)), tmp_path / "v.nii")
    with pytest.raises(RejectedFile, match="several frames"):
        read_image(tmp_path / "v.nii", KEEP)


def bomb() -> bytes:
    """A PNG header that promises 40,000 x 40,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("name", "content", "category"),
    [
        ("empty.dcm", b"", "empty"),
        ("text.dcm", b"This is no image at all, only words. " * 20, "not an image"),
        ("text.png", b"words", "not an image"),
        ("notes.txt", b"words", "not an image"),
        ("half.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "unreadable"),
        ("half.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 40, "unreadable"),
        ("bad.nii", b"no header", "unreadable"),
        ("bad.nii.gz", gzip.compress(b"no header", mtime=0), "unreadable"),
        ("half.nii.gz", gzip.compress(b"x" * 1000, mtime=0)[:20], "unreadable"),
        ("bomb.png", bomb(), "too large"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, name, content, category):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RejectedFile) as refusal:
        read_image(tmp_path / name, KEEP)
    assert refusal.value.category == category


def test_dicom_refusals(tmp_path):
    pixels = ramp()
    cases = {
        "truncated": {"PixelData": pixels.tobytes()[:100]},
        "several frames": {"NumberOfFrames": 3},
        "for processing": {"PresentationIntentType": "FOR PROCESSING"},
        "not human": {"PatientSpeciesDescription": "Canis lupus familiaris"},
        "too small": {"Rows": 4},
        "too large": {"Rows": 60000, "Columns": 60000},
    }
    for category, elements in cases.items():
        path = write(tmp_path / "a.dcm", pixels, **elements)
        with pytest.raises(RejectedFile) as refusal:
            read_image(path, KEEP)
        assert refusal.value.category == category
        assert "4711" not in str(refusal.value)
    compressed = write(tmp_path / "b.dcm", pixels)
    dataset = dcmread(compressed)
    dataset.compress(RLELossless)
    dataset.save_as(compressed)
    np.testing.assert_array_equal(read_image(compressed, KEEP).pixels[0], pixels)
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2 * 2 - 400]
    dataset.save_as(compressed)
    with pytest.raises(RejectedFile, match="cannot be decoded"):
        read_image(compressed, KEEP)


def test_a_blank_image_is_refused(tmp_path):
    with pytest.raises(RuntimeError) as failure:
        shown(write(tmp_path / "a.dcm", np.full((16, 16), 7, np.uint16)))
    assert isinstance(failure.value.__cause__, RejectedFile)
    assert failure.value.__cause__.category == "blank"


@pytest.mark.parametrize("policy", ["reject", "keep"])
@pytest.mark.parametrize("view", ["PA", "AP", "LL", ""])
def test_view_policy(tmp_path, policy, view):
    path = write(tmp_path / "a.dcm", ramp(), ViewPosition=view)
    recipe = DataRecipe(view_policy=policy)
    if policy == "reject" and view == "LL":
        with pytest.raises(RejectedFile, match="view"):
            read_image(path, recipe)
    else:
        meta = radiograph_pipeline(recipe)({"image": str(path)})["image_meta_dict"]
        assert (meta["view"], meta["unstated"]) == (view, view == "")


def test_a_view_is_read_from_its_code(tmp_path):
    item = Dataset()
    item.CodeMeaning = "postero-anterior"
    assert (
        view_of(read_image(write(tmp_path / "a.dcm", ramp(), ViewCodeSequence=Sequence([item])), KEEP).view)
        == "frontal"
    )


def test_nothing_but_a_view_is_kept_of_a_view():
    assert view_words("AP supine Meier^Anna 4711") == "AP SUPINE"


def test_the_words_of_an_animal(tmp_path):
    with pytest.raises(RejectedFile, match="not human"):
        read_image(write(tmp_path / "a.dcm", ramp(), ProtocolName="CANINE THORAX"), KEEP)


def test_a_refusal_passes_through_monai(tmp_path):
    with pytest.raises(RuntimeError) as failure:
        shown(write(tmp_path / "a.dcm", ramp(), NumberOfFrames=3))
    assert isinstance(failure.value.__cause__, RejectedFile)


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("PA", "frontal"),
        ("AP Supine", "frontal"),
        ("frontal", "frontal"),
        ("postero-anterior", "frontal"),
        ("L", "lateral"),
        ("Lateral", "lateral"),
        ("LLD", "lateral"),
        ("", "unknown"),
        ("CC", "unknown"),
    ],
)
def test_views(text, view):
    assert view_of(text) == view


def test_one_patient_has_one_hash_and_nothing_else(tmp_path):
    def said(**elements) -> tuple[str, str]:
        image = read_image(write(tmp_path / "a.dcm", ramp(), **elements), KEEP)
        return image.patient, image.study

    def patient(**elements) -> str:
        return said(**elements)[0]

    assert patient() == patient() != patient(PatientID="ID-4712")
    assert "4711" not in patient()
    assert patient(PatientID="0") != ""
    for nobody in ("", " ", "ANON", "Unknown", "[anonymized]", "N/A", "1.2.3", "A77"):
        found = said(PatientID=nobody, StudyInstanceUID="1.2.3", AccessionNumber="A77")
        assert found == ("", said(StudyInstanceUID="1.2.3")[1])
        assert found[1] != ""
    assert said(PatientID="", StudyInstanceUID="") == ("", "")


@given(st.binary(max_size=400))
def test_no_bytes_end_in_anything_but_a_refusal(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "a.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + content)
    with pytest.raises(RejectedFile):
        read_image(path, KEEP)


@pytest.mark.parametrize(
    ("elements", "sex", "age"),
    [
        ({"PatientSex": "F", "PatientAge": "045Y"}, "female", "40 to 64"),
        ({"PatientSex": "M", "PatientAge": "007M"}, "male", "0 to 17"),
        ({"PatientBirthDate": "19500611", "StudyDate": "20150610"}, "", "40 to 64"),
        ({"PatientBirthDate": "19500611", "StudyDate": "20150611"}, "", "65 and over"),
        ({"PatientAge": "030Y", "PatientBirthDate": "19500611", "StudyDate": "20150611"}, "", "18 to 39"),
        ({"PatientAge": "999Y", "PatientBirthDate": "19500611", "StudyDate": "20150611"}, "", "65 and over"),
        ({"PatientAge": "999Y"}, "", None),
        ({"PatientBirthDate": "20160101", "StudyDate": "20150610"}, "", None),
        ({"PatientSex": "", "PatientAge": ""}, "", ""),
        ({}, "", ""),
    ],
    ids=str,
)
def test_sex_and_age_of_a_header(tmp_path, elements, sex, age):
    pixels = np.arange(64 * 64, dtype="<u2").reshape(64, 64) % 4096
    image = read_image(write(tmp_path / "a.dcm", pixels, **elements), DataRecipe())
    assert (image.sex, image.age) == (sex, age)


def test_a_header_whose_sex_and_age_are_nonsense_is_no_reason_to_refuse_an_image(tmp_path):
    """Written past pydicom's checks, as a faulty export does it."""
    file = tmp_path / "a.dcm"
    pixels = np.arange(64 * 64, dtype="<u2").reshape(64, 64) % 4096
    write(file, pixels, PatientSex="QQ", PatientAge="QQQQ", PatientBirthDate="QQQQQQQQ", StudyDate="20150611")
    raw = file.read_bytes()
    for bad in (b"\xff\xfe\x00\x01", b"\\\\\\\\", b"-03Y", b"    "):
        file.write_bytes(raw.replace(b"QQQQQQQQ", bad * 2).replace(b"QQQQ", bad).replace(b"QQ", bad[:2]))
        image = read_image(file, DataRecipe())
        assert image.sex in ("", None)
        assert image.age in ("", None)
