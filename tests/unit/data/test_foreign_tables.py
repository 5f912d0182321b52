"""Tables of other programs, languages and machines: codes of characters, separators, names of columns, paths."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from medistill.data.cells import read_cells
from medistill.data.demographics import age_band, sex_of
from medistill.data.listing import FileEntry, files_of
from medistill.data.table import list_by_table
from medistill.errors import DataError
from medistill.recipe import DataRecipe

ROWS = "Datei;Befund;Patienten-ID;Krankenhaus\na.png;Pneumonie;1;Köln\nb.png;Normal;2;Köln\n"


def read(root: Path, files: list[str], text: str | bytes) -> tuple[dict[str, FileEntry], list[str]]:
    data = root / "data"
    for file in files:
        (data / file).parent.mkdir(parents=True, exist_ok=True)
        (data / file).write_bytes(b"x")
    table = root / "labels.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    listed, notes = list_by_table(data, files_of(data), table, DataRecipe())
    return {one.file: one for one in listed}, notes


@pytest.mark.parametrize(
    "content",
    [
        ROWS.encode(),
        ROWS.encode("utf-8-sig"),
        b"\xef\xbb\xbf" + ROWS.encode("utf-8-sig"),
        ROWS.encode("utf-16"),
        ROWS.encode("utf-16-le"),
        ROWS.encode("utf-16-be"),
        ROWS.encode("utf-32"),
        f"sep=;\r\n{ROWS}".encode("utf-8-sig"),
        f"SEP=;\n{ROWS}".encode("utf-16"),
        f"\n\n{ROWS}".encode(),
        ROWS.replace("\n", "\r\n").encode(),
        ROWS.replace(";", "\t").encode(),
        f"sep=\t\n{ROWS}".replace(";", "\t").encode(),
        ROWS.replace(";", "|").encode(),
        ROWS.replace("\n", ";;\n").encode(),
    ],
)
def test_codes_and_separators(tmp_path: Path, content: bytes) -> None:
    listed, notes = read(tmp_path, ["a.png", "b.png"], content)
    assert listed["a.png"] == FileEntry("a.png", "Pneumonie", "Köln", "1")
    assert notes == []


def test_the_code_of_windows_is_told(tmp_path: Path) -> None:
    listed, notes = read(tmp_path, ["a.png", "b.png"], ROWS.encode("cp1252"))
    assert listed["a.png"].site == "Köln"
    assert "cp1252" in notes[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04\x14\x00", "a workbook of Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "a workbook of Excel"),
        (bytes(range(256)), "it is no text"),
        (b"file,label\na\x81,B\n", "it is no text"),
    ],
)
def test_what_is_no_text(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_cells(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "header",
    [
        "Dateiname,Klasse,Patientennummer,Klinik,Geschlecht,Alter",
        "Bild,Diagnose,Fall-ID,Standort,Geschlecht,Alter",
        "Nom du fichier,Étiquette,ID patient,Hôpital,Sexe,Âge",
        "Fichier,Diagnostic,Numéro de patient,Établissement,Sexe,Âge",
        "Archivo,Diagnóstico,ID paciente,Centro,Sexo,Edad",
        "Ruta,Hallazgos,Paciente,Institución,Género,Edad",
    ],
)
def test_names_of_columns_in_other_languages(tmp_path: Path, header: str) -> None:
    for form in ("NFC", "NFD"):
        text = f"{unicodedata.normalize(form, header)}\na.png,Normal,17,Nord,F,45\n"
        listed, _ = read(tmp_path, ["a.png"], text)
        assert listed["a.png"] == FileEntry("a.png", "Normal", "Nord", "17", sex="F", age="45")


def test_sexes_and_ages_in_other_languages(tmp_path: Path) -> None:
    female, male = ("w", "weiblich", "Femme", "féminin", "mujer"), ("männlich", "H", "homme", "masculino", "hombre")
    assert {sex_of(word) for word in female} == {"female"}
    assert {sex_of(word) for word in male} == {"male"}
    assert [age_band(age) for age in ("45 Jahre", "6 Monate", "70 ans", "20 años", "3 mois")] == [
        "40 to 64", "0 to 17", "65 and over", "18 to 39", "0 to 17",
    ]  # fmt: skip
    listed, _ = read(tmp_path, ["a", "b"], "archivo,clase,sexo\na,A,H\nb,B,M\n")
    assert [listed[name].sex for name in "ab"] == ["male", "female"]  # hombre, mujer


@pytest.mark.parametrize("word", ["Entraînement", "Training", "entrenamiento"])
def test_splits_in_other_languages(tmp_path: Path, word: str) -> None:
    listed, _ = read(tmp_path, ["a", "b"], f"file,label,split\na,A,{word}\nb,B,prueba\n")
    assert [listed[name].split for name in "ab"] == ["train", "test"]


@pytest.mark.parametrize(
    "said",
    ["D:\\Export\\north\\A\\1.png", "\\\\server\\share\\A\\1.png", "/mnt/other/north/A/1.png", "other/1.png",
     "NORTH/a/1.PNG", "c:/x/1"],
)  # fmt: skip
def test_a_path_of_another_machine(tmp_path: Path, said: str) -> None:
    listed, notes = read(tmp_path, ["north/A/1.png", "north/B/2.png"], f"file,label\n{said},A\nnorth/B/2.png,B\n")
    assert listed["north/A/1.png"].label == "A"
    assert "found by their names" in notes[0]
    assert ": 1" in notes[0]


def test_as_much_of_a_foreign_path_as_tells_files_apart(tmp_path: Path) -> None:
    files = ["p1/s1/view1.png", "p1/s2/view1.png", "p2/s1/view1.png"]
    rows = "".join(
        f"CheXpert-small\\train\\{file.replace('/', chr(92))},{'AB'[n % 2]}\n" for n, file in enumerate(files)
    )
    listed, notes = read(tmp_path, files, "Path,label\n" + rows)
    assert [listed[file].label for file in files] == ["A", "B", "A"]
    assert ": 3." in notes[0]


def test_a_name_that_may_be_another_rows_file_is_not_taken(tmp_path: Path) -> None:
    """Of a folder that was copied in part, the file of one patient must not get another patient's label."""
    files = ["p2/view1.png", "x.png"]
    listed, _ = read(tmp_path, files, "file,label\nD:/p1/view1.png,A\nD:/p2/view1.png,B\nx.png,A\n")
    assert listed["p2/view1.png"].label == "B"
    assert listed["view1.png"].reason.startswith("it is not where the table says")
    listed, notes = read(tmp_path, files, "file,label\np1/view1.png,A\np2/view1.png,B\nx.png,A\n")
    assert (listed["p2/view1.png"].label, notes) == ("B", [])


def test_why_a_file_is_not_found(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "3.png").write_bytes(b"x")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "linked").symlink_to(outside)
    text = "file,label\nx/1.png,A\n9.png,A\n1.png,B\nlinked/3.png,A\n"
    listed, _ = read(tmp_path, ["x/1.png", "y/1.png"], text)
    assert "is not there" in listed["9.png"].reason
    assert "2 files have this name" in listed["1.png"].reason
    assert "behind a link to a folder" in listed["3.png"].reason


def test_names_with_accents_of_a_mac(tmp_path: Path) -> None:
    listed, _ = read(tmp_path, [unicodedata.normalize("NFD", "Müller/ä.png")], "file,label\nMüller/ä.png,A\n")
    assert [one.label for one in listed.values()] == ["A"]


def test_nifti_without_its_double_ending(tmp_path: Path) -> None:
    listed, _ = read(tmp_path, ["n/1.nii.gz", "n/2.nii.gz"], "file,label\n1,A\nn/2,B\n")
    assert [listed[f"n/{k}.nii.gz"].label for k in (1, 2)] == ["A", "B"]


@pytest.mark.parametrize(("file", "label"), [("ImageID", "Labels"), ("dicom_id", "Labels"), ("Image Name", "label")])
def test_names_of_columns_in_public_corpora(tmp_path: Path, file: str, label: str) -> None:
    listed, _ = read(tmp_path, ["a.png", "b.png"], f"{file},{label}\na.png,['normal']\nb,pneumonia\n")
    assert {one.label for one in listed.values()} == {"normal", "pneumonia"}


@pytest.mark.parametrize("patient", ["N° patient", "Nº paciente", "No. Patient", "Patient No.", "MRN"])
def test_numbers_of_patients(tmp_path: Path, patient: str) -> None:
    listed, _ = read(tmp_path, ["a.png", "b.png"], f"file;label;{patient}\na.png;x;1\nb.png;y;2\n")
    assert [one.patient for one in listed.values()] == ["1", "2"]


def test_two_columns_of_one_name_are_refused_where_they_count(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 2 columns named 'label'"):
        read(tmp_path, ["a.png"], "file,label,label\na.png,x,y\n")
    listed, _ = read(tmp_path, ["a.png"], "file,label,remark,remark\na.png,x,y,z\n")
    assert listed["a.png"].label == "x"
