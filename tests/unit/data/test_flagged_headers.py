"""What a DICOM header says of itself: refused, or taken and told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from medistill.artifacts.corpus import Corpus
from medistill.data.decoding import decode
from medistill.data.flagged_headers import flags_of
from medistill.recipe import DataRecipe, Recipe
from medistill.workflow.prepare import prepare
from tests.factories.burnt_in import SOMEBODY, ground, needs_reader, written
from tests.factories.heard import Heard

XRAY = DigitalXRayImageStorageForPresentation


def dicom(path: Path, pixels: np.ndarray, **elements: str) -> None:
    """An 8-bit file (H, W) of an X-ray that states a frontal view."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = XRAY, generate_uid()
    dataset.PatientID, dataset.ViewPosition = path.stem, "PA"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pixels.astype(np.uint8).tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, ()),
        ({"BurnedInAnnotation": "NO", "RecognizableVisualFeatures": "NO"}, ()),
        ({"BurnedInAnnotation": "YES"}, ("burnt-in annotation",)),
        ({"BurnedInAnnotation": "yes ", "SOPClassUID": XRAY}, ("burnt-in annotation",)),
        ({"BurnedInAnnotation": "True"}, ("burnt-in annotation",)),
        ({"BurnedInAnnotation": "N"}, ()),
        ({"BurnedInAnnotation": None}, ()),
        ({"BurnedInAnnotation": ["NO", "YES"]}, ("burnt-in annotation",)),
        ({"RecognizableVisualFeatures": "YES"}, ("recognisable features",)),
        ({"RecognizableVisualFeatures": "Y"}, ("recognisable features",)),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, ("secondary capture",)),
        ({"SOPClassUID": MultiFrameGrayscaleByteSecondaryCaptureImageStorage}, ("secondary capture",)),
        ({"SOPClassUID": f"{SecondaryCaptureImageStorage}7.1"}, ()),
        (
            {"BurnedInAnnotation": "YES", "SOPClassUID": SecondaryCaptureImageStorage},
            ("burnt-in annotation", "secondary capture"),
        ),
    ],
)
def test_flags(elements: dict[str, str | list[str] | None], expected: tuple[str, ...]) -> None:
    header = Dataset()
    for name, value in elements.items():
        setattr(header, name, value)
    assert flags_of(header) == expected


def corpus(folder: Path, **settings: str) -> Corpus:
    """Two classes of 8 files; one says that text is burnt in, one that somebody can be recognised, two are captures."""
    marked = {
        0: {"BurnedInAnnotation": "YES"},
        1: {"RecognizableVisualFeatures": "YES"},
        2: {"SOPClassUID": SecondaryCaptureImageStorage},
        3: {"SOPClassUID": SecondaryCaptureImageStorage},
    }
    for label in ("COVID", "Normal"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for n in range(8):
            number = n + 8 * (label == "Normal")
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16))
            dicom(folder / label / f"{number}.dcm", pixels, **marked.get(number, {}))
    return prepare(folder, Recipe(data=DataRecipe(image_size=8, **settings)))


def test_by_default_flagged_headers_are_refused_and_captures_told_of(tmp_path: Path) -> None:
    found = corpus(tmp_path)
    assert found.refused == {"burnt-in annotation": 1, "recognisable features": 1}
    told = [note for note in found.notes if "secondary captures" in note]
    assert told == [
        "Images that are secondary captures, as screenshots and scanned films are: 2. They were taken "
        "(data.secondary_captures is tell)."
    ]


def test_either_policy_can_be_chosen(tmp_path: Path) -> None:
    assert corpus(tmp_path, secondary_captures="refuse", flagged_headers="tell").refused == {"secondary capture": 2}
    found = corpus(tmp_path, flagged_headers="tell")
    assert found.refused == {}
    assert [note for note in found.notes if "BurnedInAnnotation is YES): 1." in note]
    assert [note for note in found.notes if "RecognizableVisualFeatures is YES): 1." in note]


def pictures(folder: Path) -> None:
    """Two classes of five plain images; a name is written into one of them, and a marker into another."""
    plain = ground(256, 256)
    for label in ("COVID", "Normal"):
        (folder / label).mkdir(parents=True)
        for n in range(5):
            pixels = plain + n + 7 * (label == "COVID")
            if n == 2:
                pixels = written(pixels, SOMEBODY if label == "COVID" else "R", 20, (40, 120))
            Image.fromarray(pixels[0].astype(np.uint8)).save(folder / label / f"{n}.png")


def test_every_run_says_that_nobody_looked_for_text(tmp_path: Path) -> None:
    pictures(tmp_path / "data")
    heard = Heard(), Heard()
    for one in heard:
        prepare(tmp_path / "data", Recipe(data=DataRecipe(image_size=32)), progress=one)
    assert "in the cache already" in heard[1].said[0]
    assert all("not looked for" in one.said[-1] for one in heard)


@needs_reader
def test_what_was_done_about_text_is_kept_with_the_corpus(tmp_path: Path, private_cache: Path) -> None:
    pictures(tmp_path / "data")
    unchecked, masked, quarantined = (
        prepare(tmp_path / "data", Recipe(data=DataRecipe(image_size=32, burnt_in_text=policy)))
        for policy in ("unchecked", "mask", "quarantine")
    )
    assert unchecked.text_check is None
    assert (masked.text_check.policy, masked.text_masked, masked.refused) == ("mask", 1, {})
    assert masked.text_check.by.startswith("RapidOCR ")
    assert {(row.file, row.category, row.reason) for row in masked.manifest if row.category} == {
        ("COVID/2.png", "text masked", "text was masked in 1 place")
    }
    assert (quarantined.refused, quarantined.text_masked) == ({"burnt-in text": 1}, 0)
    rows = {row.file: row.row for row in masked.manifest}
    changed = {file for file, row in rows.items() if (masked.images[row] != unchecked.images[row]).any()}
    assert changed == {"COVID/2.png"}
    assert np.ptp(masked.images[rows["COVID/2.png"]]) < 70 < np.ptp(unchecked.images[rows["COVID/2.png"]])
    assert not [path for path in private_cache.rglob("*") if path.is_file() and b"MEIER" in path.read_bytes()]


@needs_reader
def test_a_second_run_does_not_look_again_unless_the_rules_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "data")
    recipe = Recipe(data=DataRecipe(image_size=32, burnt_in_text="mask"))
    first = prepare(tmp_path / "data", recipe)
    looked, real = [], decode

    def counted(folder: Path, files: list[str], *others: Any, **more: Any) -> Any:
        looked.extend(files)
        return real(folder, files, *others, **more)

    monkeypatch.setattr("medistill.workflow.prepare.decode", counted)
    assert prepare(tmp_path / "data", recipe).content == first.content
    assert not looked
    monkeypatch.setattr("medistill.workflow.prepare.RULES", -1)
    prepare(tmp_path / "data", recipe)
    assert len(looked) == 10
