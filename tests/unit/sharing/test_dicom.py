"""DICOM objects of a distilled set: read by pydicom and by DCMTK, judged by dciodvfy."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import ArtifactError
from medistill.privacy.letters import Letters, Overlay, TextFigures
from tests.factories import report_example

pytest.importorskip("highdicom", reason="the dicom extra is not installed")

from medistill.sharing.dicom import dicom_files

NAMES = ("COVID", "Lung\\Opacity of a kind whose name is longer than any DICOM description may be Größe")


def small_set(channels: int = 1, size: tuple[int, int] = (7, 9), seed: int = 0) -> DistilledSet:
    """Four images of odd sizes, so that pixel data need padding."""
    grey = np.random.default_rng(seed).integers(0, 256, (4, channels, *size), np.uint8)
    normalisation = Normalisation.of(grey)
    return DistilledSet(
        images=normalisation.apply(grey).astype(np.float32),
        labels=np.array([0, 1, 0, 1], np.int64),
        weights=np.ones(4, np.float32),
        stage=np.zeros(4, np.int64),
        student_lr=0.02,
        normalisation=normalisation,
        class_names=NAMES,
    )


def written(folder: Path, distilled: DistilledSet) -> list[Path]:
    for name, content in dicom_files(distilled).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return sorted((folder / "dicom").iterdir())


def elements(dataset: Dataset) -> list:
    return list(dataset.iterall())


@pytest.mark.parametrize("channels", [1, 3])
def test_pydicom_reads_the_pixels_that_the_set_shows(channels: int) -> None:
    distilled = small_set(channels)
    files = dicom_files(distilled)
    assert list(files) == [f"dicom/000{k}.dcm" for k in range(4)]
    for picture, content in zip(distilled.viewable(), files.values(), strict=True):
        read = dcmread(io.BytesIO(content)).pixel_array
        np.testing.assert_array_equal(read if channels == 1 else np.moveaxis(read, 2, 0), picture.squeeze())


@pytest.mark.parametrize("channels", [1, 3])
def test_dcmtk_reads_the_pixels_that_the_set_shows(tmp_path: Path, channels: int) -> None:
    if shutil.which("dcmdump") is None:
        pytest.skip("DCMTK is not installed")
    distilled = small_set(channels)
    for picture, file in zip(distilled.viewable(), written(tmp_path, distilled), strict=True):
        subprocess.run(["dcmdump", "+W", str(tmp_path), "-q", str(file)], check=True, capture_output=True)
        (raw,) = tmp_path.glob("*.raw")
        flat = np.frombuffer(raw.read_bytes(), np.uint8)[: picture.size]
        np.testing.assert_array_equal(flat, np.moveaxis(picture, 0, 2).ravel())
        raw.unlink()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_validator_finds_no_error(tmp_path: Path, channels: int) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dicom3tools is not installed")
    files = written(tmp_path, small_set(channels))
    told = [subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True).stderr for file in files]
    errors = [line for text in told for line in text.splitlines() if line.startswith("Error")]
    assert [
        line for line in errors if "(0x0008,0x001c)" not in line
    ] == []  # SyntheticData is of 2023, Debian's is older
    assert all("SCImage" in text for text in told)
    spoilt = dcmread(files[0])
    del spoilt.ConversionType
    spoilt.save_as(tmp_path / "spoilt.dcm")
    judged = subprocess.run(["dciodvfy", str(tmp_path / "spoilt.dcm")], capture_output=True, text=True).stderr
    assert re.search("Error.*ConversionType", judged)


def test_each_object_says_that_it_is_synthetic_and_nothing_of_a_person_or_a_day() -> None:
    objects = [dcmread(io.BytesIO(content)) for content in dicom_files(small_set()).values()]
    for one in objects:
        assert list(one.ImageType) == ["DERIVED", "SECONDARY"]
        assert one.SyntheticData == "YES"
        for unchecked in ("PatientIdentityRemoved", "DeidentificationMethod", "BurnedInAnnotation"):
            assert unchecked not in one, "nobody reads images as small as these"
        equipment = one.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0]
        assert (equipment.CodeValue, equipment.CodingSchemeDesignator) == ("109100", "DCM")
        assert not any(element.tag.is_private for element in elements(one))
        assert {str(element.value) for element in elements(one) if element.VR in ("DA", "DT")} <= {
            "20000101",
            "",
            "None",
        }
        assert not one.PatientBirthDate
        assert one.PatientName == "SYNTHETIC^DISTILLED SET"
    assert len({one.PatientID for one in objects}) == len({one.StudyInstanceUID for one in objects}) == 1
    assert [one.SeriesNumber for one in objects] == [1, 2, 1, 2]
    assert len({one.SeriesInstanceUID for one in objects}) == 2
    assert NAMES[1] in objects[1].ImageComments
    assert len(objects[1].SeriesDescription) <= 64


LARGE = (64, 70)
CLEAN = replace(report_example.text_figures(), overlays=())
LETTERS = (Letters("image", 1, 1, 9, 0.9),)


@pytest.mark.parametrize(
    ("text", "burnt_in"),
    [
        (None, None),
        (CLEAN, "NO"),
        (replace(CLEAN, found=LETTERS), "YES"),
        (replace(CLEAN, originals="", policy=""), None),
        (replace(CLEAN, reader="", planted=()), None),
        (replace(CLEAN, overlays=(Overlay("north", 300, 0.1, 9, 0.9, 0.005),)), None),
    ],
)
def test_what_is_in_the_pixels_is_said_only_where_it_was_looked_for(
    text: TextFigures | None, burnt_in: str | None
) -> None:
    one = dcmread(io.BytesIO(dicom_files(small_set(size=LARGE), text)["dicom/0000.dcm"]))
    assert one.get("BurnedInAnnotation") == burnt_in
    removed = "YES" if burnt_in == "NO" else None
    assert one.get("PatientIdentityRemoved") == removed
    assert ("DeidentificationMethod" in one) == (removed is not None)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("", "Distilled images"),
        ("DDOQ", "Distilled images by quantisation (DDOQ)"),
        ("IADD", "Distilled images by trajectory matching (IADD)"),
    ],
)
def test_the_contribution_is_by_the_method_of_the_set(method: str, expected: str) -> None:
    made = replace(small_set(), provenance={"method": method} if method else {})
    one = dcmread(io.BytesIO(dicom_files(made)["dicom/0000.dcm"]))
    assert one.ContributingEquipmentSequence[0].ContributionDescription == expected


def test_the_same_set_gives_the_same_bytes_and_another_set_other_uids(monkeypatch: pytest.MonkeyPatch) -> None:
    once = dicom_files(small_set())
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    assert dicom_files(small_set()) == once
    changed = small_set()
    renamed = replace(changed, class_names=("COVID", "Normal"))
    uids = [{uid for c in files.values() for uid in _uids(c)} for files in (once, dicom_files(renamed))]
    assert not uids[0] & uids[1]
    for uid in uids[0]:
        assert re.fullmatch(r"2\.25\.[1-9][0-9]{30,38}", uid)


def _uids(content: bytes) -> tuple[str, str, str]:
    one = dcmread(io.BytesIO(content))
    return one.SOPInstanceUID, one.SeriesInstanceUID, one.StudyInstanceUID


def test_images_of_two_channels_are_refused() -> None:
    with pytest.raises(ArtifactError, match="2 channels"):
        dicom_files(small_set(2))
