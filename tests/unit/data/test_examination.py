"""What DICOM says is no radiograph of the chest: refused by default, or taken and told of; silence is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    SecondaryCaptureImageStorage,
    XRayAngiographicImageStorage,
)

from medistill.artifacts.corpus import Corpus
from medistill.data.body_part import CODED, told_part
from medistill.data.examination import objection_to
from medistill.errors import DataError
from medistill.recipe import DataRecipe, Recipe
from medistill.workflow.prepare import prepare
from tests.unit.data.test_flagged_headers import dicom

CHEST_FILM = {"Modality": "CR", "SOPClassUID": ComputedRadiographyImageStorage}


def header(**elements: object) -> Dataset:
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def region(value: str, meaning: str, scheme: str = "SCT") -> Sequence:
    return Sequence([header(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)])


@pytest.mark.parametrize(
    "elements",
    [
        {**CHEST_FILM, "BodyPartExamined": "CHEST"},
        {**CHEST_FILM, "BodyPartExamined": "thorax"},
        {**CHEST_FILM, "BodyPartExamined": "CHESTABDOMEN"},
        {**CHEST_FILM, "BodyPartExamined": "LUNG"},
        {**CHEST_FILM, "BodyPartExamined": "CHEST", "StudyDescription": "XR HIP LEFT"},
        {**CHEST_FILM, "BodyPartExamined": "DEFAULT", "StudyDescription": "Brustkorb"},
        {**CHEST_FILM, "StudyDescription": "Thorax und Knie", "SeriesDescription": "KNIE"},
        {**CHEST_FILM, "StudyDescription": "follow-up back from the main arm"},
        {**CHEST_FILM, "StudyDescription": "CT follow-up"},
        {**CHEST_FILM, "AnatomicRegionSequence": region("51185008", "Brust")},
        {"Modality": "RG", "BodyPartExamined": "TORAX"},
        {"Modality": "OT", "SOPClassUID": SecondaryCaptureImageStorage, "BodyPartExamined": "CHEST"},
        {"Modality": "SC", "StudyDescription": "Radiographie des poumons"},
        {"SOPClassUID": SecondaryCaptureImageStorage},
        {"SOPClassUID": "1.2.3.4"},
        {},
    ],
)
def test_nothing_speaks_against(elements: dict[str, object]) -> None:
    assert objection_to(header(**elements)) is None


@pytest.mark.parametrize(
    ("elements", "by"),
    [
        ({"Modality": "CT"}, "Modality is CT"),
        ({"Modality": "xa ", "BodyPartExamined": "CHEST"}, "Modality is XA"),
        ({"Modality": "MG"}, "Modality is MG"),
        ({"Modality": "RF", "BodyPartExamined": "CHEST"}, "Modality is RF"),
        ({"SOPClassUID": CTImageStorage}, "SOPClassUID"),
        ({"Modality": "CR", "SOPClassUID": XRayAngiographicImageStorage}, "SOPClassUID"),
        ({"Modality": "OT"}, "nothing in its header says"),
        ({"Modality": "OT", "SOPClassUID": SecondaryCaptureImageStorage}, "nothing in its header says"),
        ({"Modality": "OT", "BodyPartExamined": "CHEST", "StudyDescription": "CT Thorax"}, "StudyDescription"),
        ({"SeriesDescription": "MRT Thorax"}, "SeriesDescription"),
    ],
)
def test_no_radiograph(elements: dict[str, object], by: str) -> None:
    found = objection_to(header(**elements))
    assert found is not None
    assert (found.finding, by in found.why) == ("not a radiograph", True)


@pytest.mark.parametrize(
    ("elements", "by"),
    [
        *(
            ({"BodyPartExamined": part}, "BodyPartExamined")
            for part in (
                "HIP", "HAND", "EXTREMITY", "CSPINE", "TSPINE", "ABDOMEN", "PELVIS", "SKULL", "KNEE", "FOOT", "BREAST",
                "SHOULDER", "RIB", "ARM", "LEG", "Hüfte", "HUEFTE", "hanche", "cadera", "anca", "Becken", "main",
                "mano", "Wirbelsäule", "Thoracic spine", "LOWER_LEG", "PHANTOM",
            )
        ),
        ({"BodyPartExamined": "HIP", "StudyDescription": "CHEST PA"}, "BodyPartExamined"),
        ({"AnatomicRegionSequence": region("24136001", "Hip joint")}, "AnatomicRegionSequence"),
        ({"AnatomicRegionSequence": region("24136001", "")}, "AnatomicRegionSequence"),
        ({"AnatomicRegionSequence": region("122495006", "Thoracic spine")}, "AnatomicRegionSequence"),
        ({"PrimaryAnatomicStructureSequence": region("71341001", "Femur")}, "PrimaryAnatomicStructureSequence"),
        ({"StudyDescription": "XR HIP LEFT"}, "StudyDescription"),
        ({"SeriesDescription": "Hand rechts"}, "SeriesDescription"),
        ({"ProtocolName": "Rodilla AP"}, "ProtocolName"),
        ({"AcquisitionDeviceProcessingDescription": "[LOWER LEG   ]"}, "AcquisitionDeviceProcessingDescription"),
    ],
)  # fmt: skip
def test_another_part_of_the_body(elements: dict[str, object], by: str) -> None:
    found = objection_to(header(**CHEST_FILM, **elements))
    assert found is not None
    assert (found.finding, by in found.why) == ("other body part", True)


def test_no_word_of_a_header_is_repeated() -> None:
    found = objection_to(header(**CHEST_FILM, StudyDescription="HIP of Meier^Anna 4711"))
    assert found is not None
    assert found.why == "its StudyDescription says another part of the body than the chest (hip)"


def test_codes_of_regions_are_those_of_the_standard() -> None:
    """Against CID 4009 in pydicom: codes of the chest and of what lies in it, and no others."""
    named = [getattr(codes.cid4009, name) for name in codes.cid4009.dir()]
    chest = {"lung", "bronchus", "chest", "heart", "mediastinum"}
    for concept in named:
        words = set(concept.meaning.lower().replace(",", "").split())
        assert (concept.value in CODED) == bool(words & chest), concept.meaning
        told = told_part(header(AnatomicRegionSequence=region(concept.value, concept.meaning)))
        assert told.part == ("chest" if words & chest else "other"), concept.meaning


def corpus(folder: Path, **settings: str) -> Corpus:
    """Two classes of 8 radiographs; among them a hip, a CT slice, an angiogram, a test object and two silent ones."""
    odd: dict[int, dict[str, str]] = {
        0: {"BodyPartExamined": "HIP", "StudyDescription": "HIP Meier"},
        1: {"Modality": "CT", "SOPClassUID": CTImageStorage, "BodyPartExamined": "CHEST"},
        2: {"Modality": "XA", "SOPClassUID": XRayAngiographicImageStorage},
        3: {"Modality": "OT", "SOPClassUID": SecondaryCaptureImageStorage, "BodyPartExamined": ""},
        4: {"BodyPartExamined": ""},
        5: {"Modality": "", "SOPClassUID": SecondaryCaptureImageStorage, "BodyPartExamined": ""},
    }
    for label in ("COVID", "Normal"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for n in range(8):
            number = n + 8 * (label == "Normal")
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16))
            said = {"Modality": "DX", "BodyPartExamined": "CHEST", **odd.get(number, {})}
            dicom(folder / label / f"{number}.dcm", pixels, **said)
    return prepare(folder, Recipe(data=DataRecipe(image_size=8, **settings)))


def test_by_default_they_are_refused_and_silence_is_counted(tmp_path: Path) -> None:
    found = corpus(tmp_path)
    assert found.refused == {"not a radiograph": 3, "other body part": 1}
    assert [note for note in found.notes if "part of the body" in note] == [
        "DICOM images that do not say which part of the body they show: 2. They were taken."
    ]
    assert not any("Meier" in row.reason for row in found.manifest)


def test_they_can_be_taken_and_are_told_of(tmp_path: Path) -> None:
    found = corpus(tmp_path, not_chest="tell")
    assert found.refused == {}
    assert "Images that DICOM says are no radiographs: 3. They were taken (data.not_chest is tell)." in found.notes
    assert [note for note in found.notes if "another part of the body than the chest: 1." in note]


def test_a_folder_of_hips_names_the_setting(tmp_path: Path) -> None:
    for label in ("A", "B"):
        (tmp_path / label).mkdir()
        dicom(tmp_path / label / "1.dcm", np.arange(256).reshape(16, 16), BodyPartExamined="HIP")
    with pytest.raises(DataError, match=r"data\.not_chest=tell"):
        prepare(tmp_path, Recipe(data=DataRecipe(image_size=8)))
