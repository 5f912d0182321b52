"""What was done to files that were taken: in the manifest, in the corpus' notes, and again from the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from medistill.data.remark import COUNTED, MADE_SQUARE, ORIENTATION_UNUSED, SPACING_UNUSED, TURNED
from medistill.recipe import DataRecipe, Recipe
from medistill.workflow.prepare import prepare

RECIPE = Recipe(data=DataRecipe(image_size=16))


def pictures(folder: Path) -> Path:
    """Ten PNG files of noise for each of two classes."""
    numbers = np.random.default_rng(0)
    for name in ("COVID", "Normal"):
        (folder / name).mkdir(parents=True)
        for n in range(10):
            Pillow.fromarray(numbers.integers(0, 256, (16, 16), np.uint8)).save(folder / name / f"{n:03}.png")
    return folder


def write(path: Path, pixels: np.ndarray, **elements: object) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    dataset.PatientID, dataset.ViewPosition, dataset.BodyPartExamined = path.stem, "PA", "CHEST"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)


def test_what_was_done_to_files_is_told(tmp_path):
    data = pictures(tmp_path / "data")
    upright = np.random.default_rng(1).integers(0, 256, (3, 16, 16), np.uint8)
    write(data / "COVID" / "mirrored.dcm", upright[0, :, ::-1].copy(), PatientOrientation=["R", "F"])
    write(data / "COVID" / "nonsense.dcm", upright[1], PatientOrientation=["L", "L"], PixelSpacing=[0, 0])
    write(data / "Normal" / "both.dcm", upright[2, ::-2], PatientOrientation=["L", "H"], PixelSpacing=[2, 1])
    corpus = prepare(data, RECIPE, workers=1)
    rows = {row.file: row for row in corpus.manifest}
    assert rows["COVID/000.png"].category == rows["COVID/000.png"].reason == ""
    assert rows["COVID/mirrored.dcm"].category == "turned"
    assert "R\\F" in rows["COVID/mirrored.dcm"].reason
    np.testing.assert_array_equal(corpus.images[rows["COVID/mirrored.dcm"].row, 0], upright[0])
    np.testing.assert_array_equal(corpus.images[rows["COVID/nonsense.dcm"].row, 0], upright[1])
    assert rows["COVID/nonsense.dcm"].reason.count("left as it is") == 2
    assert rows["Normal/both.dcm"].category == "pixels made square"
    assert "turned to the standard view" in rows["Normal/both.dcm"].reason
    for category, count in {TURNED: 2, ORIENTATION_UNUSED: 1, MADE_SQUARE: 1, SPACING_UNUSED: 1}.items():
        assert f"{COUNTED[category]}: {count}. The manifest names them." in corpus.notes
    assert prepare(data, RECIPE, workers=1).notes == corpus.notes
    as_stored = Recipe(data=DataRecipe(image_size=16, orientation="as_stored"))
    left = prepare(data, as_stored, workers=1)
    row = next(row for row in left.manifest if row.file == "COVID/mirrored.dcm")
    np.testing.assert_array_equal(left.images[row.row, 0], upright[0, :, ::-1])
    assert row.category == ""


def test_tiff_bmp_and_webp_are_images(tmp_path):
    data = pictures(tmp_path / "data")
    pixels = np.random.default_rng(2).integers(0, 256, (3, 16, 16), np.uint8)
    for name, one in zip(("a.tif", "b.bmp", "c.webp"), pixels, strict=True):
        Pillow.fromarray(one).save(data / "COVID" / name, **({"lossless": True} if name == "c.webp" else {}))
    pages = [Pillow.fromarray(one) for one in pixels]
    pages[0].save(data / "Normal" / "pages.tiff", save_all=True, append_images=pages[1:])
    pages[0].save(data / "Normal" / "damaged.tiff", compression="tiff_deflate")
    whole = bytearray((data / "Normal" / "damaged.tiff").read_bytes())
    (data / "Normal" / "damaged.tiff").write_bytes(whole.replace(whole[8:40], bytes(32)))
    corpus = prepare(data, RECIPE, workers=1)
    rows = {row.file: row for row in corpus.manifest}
    for name, one in zip(("a.tif", "b.bmp", "c.webp"), pixels, strict=True):
        np.testing.assert_array_equal(corpus.images[rows[f"COVID/{name}"].row, 0], one)
    assert rows["Normal/pages.tiff"].category == "several frames"
    assert rows["Normal/damaged.tiff"].category == "unreadable"
