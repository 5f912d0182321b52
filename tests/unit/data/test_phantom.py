"""The built-in corpus as files: whole, repeatable, marked synthetic, and refused where the arguments make no sense."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medistill.data.phantom import write_phantom
from medistill.errors import ArtifactError, UsageError
from medistill.progress import SilentTask

PATIENTS, SIZE = 18, 48


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "not" / "there" / "yet"
    assert write_phantom(out, patients=PATIENTS, size=SIZE, seed=3) == len(list(out.rglob("*.dcm")))
    return out


@pytest.fixture(scope="module")
def headers(corpus: Path) -> dict[Path, pydicom.Dataset]:
    return {file: pydicom.dcmread(file) for file in sorted(corpus.rglob("*")) if file.is_file()}


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_same_arguments_give_same_bytes_and_another_seed_others(corpus: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "again", patients=PATIENTS, size=SIZE, seed=3)
    write_phantom(tmp_path / "other", patients=PATIENTS, size=SIZE, seed=4)
    first, again, other = _contents(corpus), _contents(tmp_path / "again"), _contents(tmp_path / "other")
    assert first == again
    assert first.keys() == other.keys()
    assert not set(first.values()) & set(other.values())


def test_more_patients_leave_the_first_ones_as_they_were(headers: dict[Path, pydicom.Dataset], tmp_path: Path) -> None:
    write_phantom(tmp_path / "few", patients=12, size=SIZE, seed=3)
    few = {pydicom.dcmread(file).SOPInstanceUID: file.read_bytes() for file in (tmp_path / "few").rglob("*.dcm")}
    many = {header.SOPInstanceUID: file.read_bytes() for file, header in headers.items()}
    assert few.items() <= many.items()


def test_layout_is_site_and_class_and_every_combination_has_patients(headers: dict[Path, pydicom.Dataset]) -> None:
    patients = defaultdict(set)
    for file, header in headers.items():
        patients[file.parent.parent.name, file.parent.name].add(header.PatientID)
    assert sorted(patients) == [(s, c) for s in ("north", "south") for c in ("COVID", "Normal", "Pneumonia")]
    assert {len(found) for found in patients.values()} == {PATIENTS // 6}


def test_every_patient_has_several_images_one_class_and_one_site(headers: dict[Path, pydicom.Dataset]) -> None:
    folders = defaultdict(list)
    people = defaultdict(set)
    for file, header in headers.items():
        folders[header.PatientID].append(file.parent)
        people[header.PatientID].add((str(header.PatientName), header.PatientBirthDate, header.PatientSex))
    assert len(folders) == PATIENTS
    assert all(2 <= len(files) <= 4 and len(set(files)) == 1 for files in folders.values())
    assert len({len(files) for files in folders.values()}) > 1
    assert all(len(who) == 1 for who in people.values())
    assert len(set().union(*people.values())) == PATIENTS


def test_headers_hold_an_invented_person_and_say_synthetic(headers: dict[Path, pydicom.Dataset]) -> None:
    for header in headers.values():
        assert re.fullmatch(r"[A-Z][a-z]+\^[A-Z][a-z]+", str(header.PatientName))
        assert re.fullmatch(r"ZQ\d{9}", header.PatientID)
        assert re.fullmatch(r"(19|20)\d{6}", header.PatientBirthDate)
        assert header.PatientBirthDate < header.StudyDate
        assert header.AccessionNumber
        assert header.SyntheticData == "YES"
        assert "SYNTHETIC" in header.ImageComments
        assert "SYNTHETIC" in header.SeriesDescription
        assert header.BodyPartExamined == "CHEST"
        assert header.ViewPosition in ("PA", "AP")
    assert {header.ViewPosition for header in headers.values()} == {"PA", "AP"}
    for unique in ("SOPInstanceUID", "AccessionNumber"):
        assert len({header[unique].value for header in headers.values()}) == len(headers)


def test_file_names_hold_nothing_of_the_header(headers: dict[Path, pydicom.Dataset]) -> None:
    for file, header in headers.items():
        assert re.fullmatch(r"image_\d{5}\.dcm", file.name)
        name = str(file.relative_to(file.parents[2])).lower()
        secrets = [*str(header.PatientName).lower().split("^"), header.PatientID.lower(), header.PatientBirthDate]
        secrets += [header.StudyDate, header.AccessionNumber.lower(), header.SOPInstanceUID]
        assert not [secret for secret in secrets if secret in name]


def test_pixels_are_12_bit_and_both_interpretations_show_the_same_polarity(
    headers: dict[Path, pydicom.Dataset],
) -> None:
    seen = set()
    for header in headers.values():
        assert (header.BitsAllocated, header.BitsStored, header.HighBit) == (16, 12, 11)
        grey = header.pixel_array.astype(int)
        assert grey.shape == (SIZE, SIZE)
        assert grey.max() < 2**12
        assert np.unique(grey).size > 256, "the grey values would fit into 8 bits"
        if header.PhotometricInterpretation == "MONOCHROME1":
            grey = 4095 - grey
        if header.Modality == "DX":
            inverse = header.PhotometricInterpretation == "MONOCHROME1"
            assert header.PresentationLUTShape == ("INVERSE" if inverse else "IDENTITY")
        seen.add((header.Modality, header.PhotometricInterpretation))
        beside_the_neck = grey[: SIZE // 20, [*range(SIZE // 6), *range(SIZE - SIZE // 6, SIZE)]].mean()
        spine = grey[2 * SIZE // 3 : 5 * SIZE // 6, SIZE // 2 - 2 : SIZE // 2 + 2].mean()
        assert spine > 2 * beside_the_neck, "air has to be black and bone white once MONOCHROME1 is inverted"
    assert {interpretation for _, interpretation in seen} == {"MONOCHROME1", "MONOCHROME2"}
    assert {modality for modality, _ in seen} == {"DX", "CR"}


def test_dciodvfy_finds_no_error(headers: dict[Path, pydicom.Dataset]) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    complaints = set()
    for file in headers:
        done = subprocess.run([program, str(file)], capture_output=True, text=True, check=False)
        text = done.stdout + done.stderr
        assert re.search(r"^(DXImageForPresentation|CRImage)$", text, re.MULTILINE), text
        complaints |= {line for line in text.splitlines() if line.startswith("Error")}
    # Synthetic Data (0008,001C) is younger than the dciodvfy that Debian 12 carries.
    assert {line for line in complaints if "(0x0008,0x001c)" not in line} == set()


@pytest.mark.parametrize(("patients", "size"), [(11, 48), (0, 48), (-1, 48), (12, 31), (12, 0), (12, 4097)])
def test_impossible_figures_are_refused_and_nothing_is_made(tmp_path: Path, patients: int, size: int) -> None:
    with pytest.raises(UsageError, match=r"at least 12 patients, and 32 to 4096 pixels"):
        write_phantom(tmp_path / "out", patients=patients, size=size)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    for out in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(UsageError, match="exists and is not empty"):
            write_phantom(out, patients=12, size=32)
    assert _contents(tmp_path) == {"mine.txt": b"kept"}


def test_an_empty_folder_is_filled_even_as_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    count = write_phantom(Path(), patients=12, size=32)
    assert len(list(Path().rglob("*.dcm"))) == count
    assert [entry.name for entry in tmp_path.iterdir()] == ["empty"]


class _StopsAt(SilentTask):
    def __init__(self, last: int) -> None:
        self.left = last

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        self.left -= steps
        if self.left == 0:
            raise KeyboardInterrupt

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        return self

    def say(self, message: str) -> None:
        raise AssertionError(message)


def test_an_interrupted_drawing_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "out", patients=12, size=32, progress=_StopsAt(5))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ArtifactError, match="could not be written"):
        write_phantom(tmp_path / "file" / "out", patients=12, size=32)
