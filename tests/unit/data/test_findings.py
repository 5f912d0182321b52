"""Findings: several in a cell, a column for each, classes that count as one, and words that say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from medistill.data.listing import FileEntry, files_of
from medistill.data.table import list_by_table
from medistill.data.words import is_nobody
from medistill.errors import DataError, RecipeError
from medistill.recipe import DataRecipe, load_recipe


def read(
    folder: Path, text: str, recipe: DataRecipe | None = None, names: str = "abcdefgh"
) -> tuple[dict[str, FileEntry], list[str]]:
    data = folder / "data"
    data.mkdir(exist_ok=True)
    for name in names:
        (data / f"{name}.png").write_bytes(b"x")
    table = folder / "labels.csv"
    table.write_text(text, encoding="utf-8")
    listed, notes = list_by_table(data, files_of(data), table, recipe or DataRecipe())
    return {one.file.removesuffix(".png"): one for one in listed if one.category != "not in the table"}, notes


def said(listed: dict[str, FileEntry]) -> dict[str, str]:
    """Class of each file, or in brackets why it has none."""
    return {name: one.label or f"({one.category})" for name, one in listed.items()}


@pytest.mark.parametrize(
    "word",
    ["nan", "NaN", "NA", "n/a", "N/A", "n.a.", "#N/A", "<NA>", "NaT", "None", "null", "-", "--", "–", "?", "", " ",
     "unknown", "Unknown", "not stated", "#NV", "k.A.", "keine Angabe", "unbekannt", "inconnu", "Non renseigné",
     "desconocido", "sin datos"],
)  # fmt: skip
def test_words_that_say_nothing(tmp_path: Path, word: str) -> None:
    rows = f"a,{word},1,north\nb,A,{word},north\nc,A,2,{word}\nd,B,3,south\n"
    listed, _ = read(tmp_path, "file,label,patient,site\n" + rows)
    assert said(listed) == {"a": "(no label)", "b": "A", "c": "A", "d": "B"}
    assert (listed["b"].patient, listed["c"].site, listed["d"].patient) == ("", "", "3")


@pytest.mark.parametrize("word", ["N", "NV", "-1", "+", "0", "Nanking", "Unknown lesion", "U"])
def test_words_that_say_something(tmp_path: Path, word: str) -> None:
    assert read(tmp_path, f"file,label\na,{word}\nb,A\n")[0]["a"].label == word


def test_what_the_recipe_names_says_something(tmp_path: Path) -> None:
    named = DataRecipe(classes=("none", "A"))
    assert said(read(tmp_path, "file,label\na,none\nb,A\nc,nan\n", named)[0]) == {
        "a": "none",
        "b": "A",
        "c": "(no label)",
    }


def test_an_anonymised_patient_in_a_table_is_nobody(tmp_path: Path) -> None:
    listed, _ = read(tmp_path, "file,label,patient\na,A,ANONYMOUS\nb,A,de-identified\nc,B,P1\n")
    assert [one.patient for one in listed.values()] == ["", "", "P1"]


@pytest.mark.parametrize("identifier", ["", "+", "--", "No ID", "PATIENT_ID", "anonymized", "unbekannt", "N/A"])
def test_an_identifier_that_names_nobody(identifier: str) -> None:
    assert is_nobody(identifier)
    assert not is_nobody(f"{identifier} 17")


NIH = "Image Index,Finding Labels,Patient ID\na.png,Cardiomegaly|Effusion,1\nb.png,No Finding,2\nc.png,Effusion,3\n"


def test_several_findings_in_a_cell_are_left_out_or_go_by_priority(tmp_path: Path) -> None:
    assert said(read(tmp_path, NIH)[0]) == {"a": "(several findings)", "b": "No Finding", "c": "Effusion"}
    for classes, of_a in ((("Effusion", "Cardiomegaly"), "Effusion"), (("Cardiomegaly", "Effusion"), "Cardiomegaly")):
        first = DataRecipe(several_findings="priority", classes=(*classes, "No Finding"))
        assert said(read(tmp_path, NIH, first)[0]) == {"a": of_a, "b": "No Finding", "c": "Effusion"}


@pytest.mark.parametrize("cell", ["A|B", "A;B", '"A, B"', "\"['A', 'B']\"", '"[""A"", ""B""]"', "A | B"])
def test_how_several_findings_are_written(tmp_path: Path, cell: str) -> None:
    listed, _ = read(tmp_path, f"file,label\na,{cell}\nb,A\nc,B\n")
    assert said(listed) == {"a": "(several findings)", "b": "A", "c": "B"}


def test_a_comma_in_a_name_divides_nothing(tmp_path: Path) -> None:
    listed, _ = read(tmp_path, 'file,label\na,"Pneumonia, viral"\nb,Pneumonia\n')
    assert said(listed) == {"a": "Pneumonia, viral", "b": "Pneumonia"}


CHEXPERT = (
    "Path,Sex,Age,No Finding,Cardiomegaly,Pneumonia\n"
    "a.png,Female,68,1.0,,\n"
    "b.png,Male,87,,1.0,0.0\n"
    "c.png,Male,83,,,-1.0\n"
    "d.png,Male,41,,1.0,1.0\n"
    "e.png,Male,20,,-1.0,1.0\n"
    "f.png,Male,33,0.0,0.0,0.0\n"
)


def test_a_column_for_each_finding(tmp_path: Path) -> None:
    listed, notes = read(tmp_path, CHEXPERT)
    assert said(listed) == {
        "a": "No Finding", "b": "Cardiomegaly", "c": "(uncertain finding)", "d": "(several findings)",
        "e": "(uncertain finding)", "f": "(no label)",
    }  # fmt: skip
    assert listed["a"].sex == "Female"
    assert "3 columns of 1 and 0" in notes[0]
    first = DataRecipe(several_findings="priority", classes=("Pneumonia", "Cardiomegaly", "No Finding"))
    assert said(read(tmp_path, CHEXPERT, first)[0]) == {
        "a": "No Finding", "b": "Cardiomegaly", "c": "(uncertain finding)", "d": "Pneumonia", "e": "Pneumonia",
        "f": "(no label)",
    }  # fmt: skip
    other = DataRecipe(several_findings="priority", classes=("Cardiomegaly", "Pneumonia"))
    assert said(read(tmp_path, CHEXPERT, other)[0])["e"] == "(uncertain finding)"


def test_columns_of_findings_that_are_named(tmp_path: Path) -> None:
    two = DataRecipe(finding_columns=("No Finding", "Cardiomegaly"))
    listed, notes = read(tmp_path, CHEXPERT, two)
    assert said(listed)["d"] == "Cardiomegaly"
    assert notes == []
    with pytest.raises(DataError, match="no column 'Edema'"):
        read(tmp_path, CHEXPERT, DataRecipe(finding_columns=("Edema", "Pneumonia")))
    with pytest.raises(DataError, match=r"the column 'Age' of .* holds something other than 1, 0, -1"):
        read(tmp_path, CHEXPERT, DataRecipe(finding_columns=("Age", "Pneumonia")))
    with pytest.raises(DataError, match="no label column"):
        read(tmp_path, "file,ward\na,1\nb,2\n")


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("TRUE", "FALSE"), ("WAHR", "FALSCH"), ("x", ""), ("1,0", "0,0")])
def test_how_a_finding_is_ticked(tmp_path: Path, yes: str, no: str) -> None:
    listed, _ = read(tmp_path, f"file;COVID;Normal\na;{yes};{no}\nb;{no};{yes}\n")
    assert said(listed) == {"a": "COVID", "b": "Normal"}


def test_classes_that_count_as_one(tmp_path: Path) -> None:
    text = "file,label\na,COVID\nb,Viral_Pneumonia\nc,Normal\nd,COVID|Viral_Pneumonia\n"
    recipe = load_recipe("demo", ["data.class_map.Abnormal=COVID,Viral_Pneumonia"]).data
    listed, notes = read(tmp_path, text, recipe)
    assert said(listed) == {"a": "Abnormal", "b": "Abnormal", "c": "Normal", "d": "Abnormal"}
    assert notes == ["Class Abnormal unites COVID and Viral_Pneumonia (data.class_map)."]
    some = DataRecipe(class_map={"Abnormal": ("COVID", "SARS")})
    assert read(tmp_path, text, some)[1] == [
        "Class Abnormal unites COVID and SARS (data.class_map); no image is called SARS."
    ]
    with pytest.raises(DataError, match=r"there is no class Covid for data.class_map to make Abnormal of"):
        read(tmp_path, text, DataRecipe(class_map={"Abnormal": ("Covid",)}))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ('data.class_map={A=["x"],B=["x"]}', "x stands in A and B"),
        ('data.class_map={A=["B"],B=["C"]}', "B stands in A and B"),
        ("data.class_map.A=[]", "the classes that it unites"),
        ("data.class_map=A", "names with a list each, as in --set data.class_map.Abnormal="),
        ("data.several_findings=priority", "these are not named"),
        ("data.classes.A=b", r"section\.key=value"),
    ],
)
def test_rules_that_cannot_be(override: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe("demo", [override])
