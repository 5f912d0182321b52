"""Views: words of several languages, elements of a header and columns of a table, against what a person reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from medistill.artifacts.corpus import Corpus
from medistill.data.dicom_view import VIEW_CODES, stated_view
from medistill.data.listing import files_of
from medistill.data.table import list_by_table
from medistill.data.view import described_view, states_view, view_of, view_words
from medistill.recipe import DataRecipe, Recipe
from medistill.workflow.prepare import prepare
from tests.unit.data.test_flagged_headers import dicom


@pytest.mark.parametrize(
    ("text", "view", "kept"),
    [
        ("LLAT", "lateral", "LL"),
        ("RLAT", "lateral", "RL"),
        ("R-LAT", "lateral", "RL"),
        ("left lateral", "lateral", "LL"),
        ("seitlich", "lateral", "LATERAL"),
        ("Seitenaufnahme", "lateral", "LATERAL"),
        ("schräg", "lateral", "OBLIQUE"),
        ("profil", "lateral", "LATERAL"),
        ("Profil gauche", "lateral", "LATERAL"),
        ("perfil", "lateral", "LATERAL"),
        ("latero-laterale", "lateral", "LL"),
        ("zijdelings", "lateral", "LATERAL"),
        ("側面", "lateral", "LATERAL"),
        ("de face", "frontal", "FRONTAL"),
        ("FACE", "frontal", "FRONTAL"),
        ("frontale", "frontal", "FRONTAL"),
        ("Frente", "frontal", "FRONTAL"),
        ("胸部正位", "frontal", "FRONTAL"),
        ("P.A.", "frontal", "PA"),
        ("antéro-postérieur", "frontal", "AP"),
        ("a.p. liegend", "frontal", "AP SUPINE"),
        ("AP_horizontal", "frontal", "AP"),
        ("SWIMMERS", "unknown", ""),
        ("COSTAL", "unknown", ""),
        ("Meier", "unknown", ""),
        ("nan", "unknown", ""),
    ],
)
def test_words_of_a_stated_view(text: str, view: str, kept: str) -> None:
    assert (view_of(text), view_words(text)) == (view, kept)
    assert view_words(kept) == kept


def test_what_states_nothing_is_told_from_what_is_not_known() -> None:
    assert not any(states_view(text) for text in ("", " ", "nan", "N/A", "unknown", "-", "?", "portable", "supine"))
    assert not any(states_view(text) for text in ("k.A.", "keine Angabe", "non renseigné", "#REF!", "U", "other"))
    assert all(states_view(text) for text in ("SWIMMERS", "PA", "Axial"))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("CHEST FRONTAL", "FRONTAL"),
        ("THORAX DE FACE", "FRONTAL"),
        ("Thorax face", "FRONTAL"),
        ("Thorax a.p. liegend", "AP SUPINE"),
        ("CHEST 1 VIEW AP", "AP"),
        ("CHEST LATERAL", "LATERAL"),
        ("THORAX SEITLICH", "LATERAL"),
        ("CHEST PA AND LATERAL", ""),
        ("CHEST PA/LAT", ""),
        ("CHEST PA & L", ""),
        ("CHEST 2 VIEWS PA", ""),
        ("Thorax in 2 Ebenen p.a.", ""),
        ("RP FACE + PROFIL", ""),
        ("XR FACE", ""),
        ("BILATERAL HANDS", ""),
        ("CHEST L", ""),
    ],
)
def test_a_description_of_several_views_says_none(text: str, kept: str) -> None:
    assert described_view(text) == kept


def header(**elements: object) -> Dataset:
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def code(value: str, meaning: str = "") -> Sequence:
    return Sequence([header(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)])


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"ViewPosition": "PA", "StudyDescription": "CHEST LATERAL"}, ("PA", "ViewPosition")),
        ({"ViewPosition": "", "StudyDescription": "CHEST FRONTAL"}, ("FRONTAL", "StudyDescription")),
        (
            {"SeriesDescription": "Thorax p.a.", "StudyDescription": "CHEST PA AND LATERAL"},
            ("PA", "SeriesDescription"),
        ),
        ({"SeriesDescription": "Thorax seitlich"}, ("LATERAL", "SeriesDescription")),
        ({"AcquisitionDeviceProcessingDescription": "CHEST AP"}, ("AP", "AcquisitionDeviceProcessingDescription")),
        ({"ProtocolName": "Torax PA"}, ("PA", "ProtocolName")),
        ({"ViewPosition": "SWIMMERS", "StudyDescription": "CHEST FRONTAL"}, ("", "")),
        ({"ViewPosition": "unknown", "StudyDescription": "CHEST FRONTAL"}, ("FRONTAL", "StudyDescription")),
        ({"ViewPosition": "CHEST", "ViewCodeSequence": code("272479007")}, ("PA", "ViewCodeSequence")),
        ({"ViewCodeSequence": code("399067008", "seitwärts")}, ("LATERAL", "ViewCodeSequence")),
        ({"ViewCodeSequence": code("1", "de profil")}, ("LATERAL", "ViewCodeSequence")),
        ({"StudyDescription": "CHEST"}, ("", "")),
    ],
)
def test_which_element_says_the_view(elements: dict[str, object], expected: tuple[str, str]) -> None:
    assert tuple(stated_view(header(**elements))) == expected


def test_codes_of_views_are_those_of_the_standard() -> None:
    """Against the dictionary of CID 4010 in pydicom."""
    named = {concept.value: concept.meaning for concept in (getattr(codes.cid4010, n) for n in codes.cid4010.dir())}
    for value, words in VIEW_CODES.items():
        if value in named:
            assert view_words(named[value]) == words
    assert sum(value in named for value in VIEW_CODES) == 11


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_of_chexpert_and_mimic_are_read_together(tmp_path: Path) -> None:
    for n in range(6):
        (tmp_path / f"{n}.png").write_bytes(b"x")
    cells = ("Frontal,AP", "Frontal,PA", "Lateral,", "Frontal,", ",nan", "Frontal,LL")
    rows = "".join(f"{n}.png,A,{said}\n" for n, said in enumerate(cells))
    listed, _ = list_by_table(
        tmp_path,
        files_of(tmp_path),
        table(tmp_path.parent / "chexpert.csv", f"Path,Label,Frontal/Lateral,AP/PA\n{rows}"),
        DataRecipe(),
    )
    views = {one.file: view_words(one.view) for one in listed if not one.category}
    assert [views[f"{n}.png"] for n in range(6)] == ["AP", "PA", "LATERAL", "FRONTAL", "", "FRONTAL LL"]
    assert [view_of(one.view) for one in listed if one.file == "5.png"] == ["lateral"]


def read(folder: Path, view_column: str = "", **settings: str) -> Corpus:
    """Two classes of 8 DICOM files that state PA; of the first three of each the view is said elsewhere."""
    elsewhere = (
        {"ViewPosition": "", "StudyDescription": "CHEST FRONTAL Meier"},
        {"ViewPosition": "", "SeriesDescription": "THORAX LATERAL"},
        {"ViewPosition": "", "StudyDescription": "CHEST"},
    )
    for label in ("COVID", "Normal"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for n in range(8):
            pixels = np.random.default_rng(n + 8 * (label == "Normal")).integers(0, 256, (16, 16))
            dicom(folder / label / f"{n}.dcm", pixels, **(elsewhere[n] if n < 3 else {}), Modality="DX")
    labels = None
    if view_column:
        files = files_of(folder)
        rows = "".join(f"{file},{file.split('/')[0]},{view_column}\n" for file in files)
        labels = table(folder.parent / "labels.csv", f"file,label,view\n{rows}")
    return prepare(folder, Recipe(data=DataRecipe(image_size=8, **settings)), labels=labels)


def test_the_manifest_says_which_element_decided_and_the_notes_name_the_setting(tmp_path: Path) -> None:
    found = read(tmp_path / "xray")
    assert found.refused == {"lateral view": 2, "unknown view": 2}
    fates = {row.file: (row.row >= 0, row.category, row.reason) for row in found.manifest}
    assert fates["COVID/0.dcm"] == (True, "", "its view is taken from StudyDescription")
    assert fates["COVID/3.dcm"] == (True, "", "")
    assert fates["COVID/1.dcm"][2].startswith("its SeriesDescription says that its view is lateral")
    assert "Views that ViewPosition does not say were taken from: StudyDescription 2." in found.notes
    [left] = [note for note in found.notes if "data.view_policy=keep" in note]
    assert left.startswith("Files refused since nothing says that they are frontal: 2. ")
    assert not any("Meier" in text for text in (*found.notes, *(row.reason for row in found.manifest), *found.views))
    assert set(found.views) == {"PA", "FRONTAL"}


def test_every_view_can_be_kept_and_is_counted(tmp_path: Path) -> None:
    found = read(tmp_path / "xray", view_policy="keep")
    assert found.refused == {}
    assert sorted(set(found.views)) == ["", "FRONTAL", "LATERAL", "PA"]
    assert "DICOM images that do not say their view: 2. They were taken." in found.notes


def test_a_table_goes_before_descriptions(tmp_path: Path) -> None:
    assert read(tmp_path / "xray", view_column="frontal").refused == {}


def test_a_word_in_a_table_that_is_not_known_is_no_frontal_view(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    for label in ("COVID", "Normal"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for n in range(8):
            Image.fromarray(numbers.integers(0, 256, (16, 16), np.uint8)).save(tmp_path / "data" / label / f"{n}.png")
    said = {"COVID/0.png": "Swimmers", "COVID/1.png": "seitlich", "COVID/2.png": "nan", "Normal/0.png": "PA"}
    files = files_of(tmp_path / "data")
    rows = "".join(f"{file},{file.split('/')[0]},{said.get(file, '')}\n" for file in files)
    labels = table(tmp_path / "labels.csv", f"file,label,view\n{rows}")
    found = prepare(tmp_path / "data", Recipe(data=DataRecipe(image_size=8)), labels=labels)
    assert {row.file: row.category for row in found.manifest if row.category} == {
        "COVID/0.png": "unknown view",
        "COVID/1.png": "lateral view",
    }
