"""Listing: what folders and tables say of files, and what they cannot mean."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medistill.data.listing import FileEntry, files_of, list_by_folders
from medistill.data.selection import choose
from medistill.data.table import list_by_table
from medistill.errors import DataError
from medistill.recipe import DataRecipe


def tree(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def by_folders(root: Path, recipe: DataRecipe | None = None) -> dict[str, FileEntry]:
    return {one.file: one for one in list_by_folders(root, files_of(root), recipe or DataRecipe())[0]}


def by_table(root: Path, text: str, recipe: DataRecipe | None = None) -> dict[str, FileEntry]:
    table = root.parent / "labels.csv"
    table.write_text(text, encoding="utf-8")
    return {one.file: one for one in list_by_table(root, files_of(root), table, recipe or DataRecipe())[0]}


@pytest.mark.parametrize(
    ("file", "site", "label", "split"),
    [
        ("Normal/a.png", "", "Normal", None),
        ("north/Normal/a.png", "north", "Normal", None),
        ("train/Normal/a.png", "", "Normal", "train"),
        ("Training/Normal/a.png", "", "Normal", "train"),
        ("Normal/valid/a.png", "", "Normal", "val"),
        ("north/test/Normal/a.png", "north", "Normal", "test"),
        ("test/north/Normal/a.png", "north", "Normal", "test"),
    ],
)
def test_layouts(tmp_path, file, site, label, split):
    one = by_folders(tree(tmp_path, file))[file]
    assert (one.site, one.label, one.split, one.category) == (site, label, split, "")


def test_stray_files_are_told_of(tmp_path):
    listed = by_folders(tree(tmp_path, *[f"{c}/{n}.png" for c in "AB" for n in range(10)], "README.txt"))
    assert listed["README.txt"].category == "no label"
    assert sum(not one.category for one in listed.values()) == 20


def test_hidden_files_are_not_listed(tmp_path):
    assert files_of(tree(tmp_path, "A/a.png", "A/.hidden", ".git/config")) == ["A/a.png"]


def test_folders_that_cannot_be_meant(tmp_path):
    with pytest.raises(DataError, match="directly in it"):
        by_folders(tree(tmp_path / "flat", "a.png", "b.png"))
    with pytest.raises(DataError, match="4 folders deep"):
        by_folders(tree(tmp_path / "deep", "a/b/c/d/a.png"))
    with pytest.raises(DataError, match=r"most files .* lie 3 folders deep"):
        by_folders(tree(tmp_path / "deeper", "A/p1/s/1.png", "A/p2/s/1.png", "B/p3/s/1.png", "B/p4/1.png"))
    with pytest.raises(DataError, match="look like patients"):
        by_folders(tree(tmp_path / "patients", *[f"{'AB'[n % 2]}/p{n}/1.png" for n in range(30)]))
    with pytest.raises(
        DataError, match="12 folders of the second level, and all are numbered: they look like patients"
    ):
        by_folders(tree(tmp_path / "numbered", *[f"{c}/p{n:02}/1.png" for c in ("COVID", "Normal") for n in range(12)]))
    with pytest.raises(DataError, match="2 files lie one folder deep and 1 lie two folders deep"):
        by_folders(tree(tmp_path / "mixed", "A/1.png", "B/1.png", "north/A/1.png"))


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        files_of(tmp_path / "none")
    with pytest.raises(DataError, match="is a file"):
        files_of(tree(tmp_path, "a.png") / "a.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no files"):
        files_of(tmp_path / "empty")


def test_links_pipes_and_dead_links(tmp_path):
    outside = tree(tmp_path / "outside", "secret.png")
    root = tree(tmp_path / "data", "A/a.png", "B/b.png")
    (root / "A/inside.png").symlink_to(root / "A/a.png")
    (root / "A/outside.png").symlink_to(outside / "secret.png")
    (root / "A/dead.png").symlink_to(root / "A/none.png")
    (root / "A/loop.png").symlink_to(root / "A/loop.png")
    (root / "A/folder").symlink_to(root / "B")
    os.mkfifo(root / "A/pipe.png")
    listed = by_folders(root)
    assert {file: one.category for file, one in listed.items()} == {
        "A/a.png": "",
        "B/b.png": "",
        "A/inside.png": "",
        "A/outside.png": "link out of the folder",
        "A/dead.png": "not a file",
        "A/loop.png": "not a file",
        "A/folder": "link to a folder",
        "A/pipe.png": "not a file",
    }


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "names",
    [
        ("file", "label", "group_id", "site", "view", "split"),
        ("Path", "Class", "PatientID", "Hospital", "View_Position", "Subset"),
        ("Image Index", "Finding Labels", "Patient ID", "Centre", "View Position", "Fold"),
    ],
)
def test_usual_columns(tmp_path, names, separator):
    text = separator.join(names) + "\n" + separator.join(["x/a.png", "COVID", "p1", "north", "PA", "Valid"]) + "\n"
    one = by_table(tree(tmp_path / "data", "x/a.png"), text)["x/a.png"]
    assert one == FileEntry("x/a.png", "COVID", "north", "p1", "PA", "val")


@pytest.mark.parametrize("names", [("sex", "age"), ("Gender", "Patient Age"), ("PatientSex", "PatientAge")])
def test_columns_of_sex_and_age(tmp_path, names):
    text = f"file,label,{','.join(names)}\na.png,A,F,045Y\n"
    one = by_table(tree(tmp_path / "data", "a.png"), text)["a.png"]
    assert (one.sex, one.age) == ("F", "045Y")
    chosen = DataRecipe(sex_column="Geschlecht", age_column="Alter")
    one = by_table(tmp_path / "data", "file,label,sex,Geschlecht,Alter\na.png,A,F,m,7\n", chosen)["a.png"]
    assert (one.sex, one.age) == ("m", "7")
    with pytest.raises(DataError, match="no column 'Alter'"):
        by_table(tmp_path / "data", "file,label\na.png,A\n", DataRecipe(age_column="Alter"))


def test_groups_are_preferred_to_patients(tmp_path):
    listed = by_table(tree(tmp_path / "data", "a.png"), "patient_id,group_id,label,file\np,g,A,a.png\n")
    assert listed["a.png"].patient == "g"


def test_columns_of_the_recipe(tmp_path):
    recipe = DataRecipe(file_column="Bild", label_column="Befund", patient_column="Fall")
    listed = by_table(tree(tmp_path / "data", "a.png"), "Bild,Befund,Fall,label\na.png,A,7,no\n", recipe)
    assert (listed["a.png"].label, listed["a.png"].patient) == ("A", "7")
    with pytest.raises(DataError, match="no column 'Befund'"):
        by_table(tmp_path / "data", "file,label\na.png,A\n", DataRecipe(label_column="Befund"))


def test_how_a_row_may_name_its_file(tmp_path):
    root = tree(tmp_path / "data", "x/a.png", "y/b.png", "x/c.png", "y/c.png", "y/d.dcm")
    said = {
        "x/a.png": "./x/a.png",
        "y/b.png": "b",
        "x/c.png": f"{root}/x/c.png",
        "y/c.png": "data\\y\\c.png",
        "y/d.dcm": "d.dcm",
    }
    listed = by_table(root, "file,label\n" + "".join(f"{name},A\n" for name in said.values()))
    assert {file: one.category for file, one in listed.items()} == dict.fromkeys(said, "")
    ambiguous = by_table(root, "file,label\nc.png,A\nx/a.png,A\n")
    assert ambiguous["c.png"].category == "missing file"


@pytest.mark.parametrize(
    "said", ["case7", "case7.gz", "case7.nii", "case7.nii.gz", "x/case7", "x/case7.gz", "x/case7.nii"]
)
@pytest.mark.parametrize("ending", [".nii.gz", ".NII.GZ"])
def test_half_of_a_double_ending_may_be_left_out(tmp_path, said, ending):
    root = tree(tmp_path / "data", f"x/case7{ending}", "x/case71.nii.gz", "y/other.png")
    said = said if ending.islower() else said.replace("nii", "NII").replace("gz", "GZ")
    assert by_table(root, f"file,label\n{said},A\n")[f"x/case7{ending}"].category == ""


def test_a_bare_name_of_two_files_is_ambiguous(tmp_path):
    root = tree(tmp_path / "data", "x/case7.nii.gz", "y/case7.nii", "z/other.png")
    assert by_table(root, "file,label\ncase7,A\nother,A\n")["case7"].category == "missing file"


def test_rows_that_say_too_little_or_too_much(tmp_path):
    root = tree(tmp_path / "data", *[f"{name}.png" for name in "abcdef"])
    listed = by_table(
        root,
        "file,label,split,note\n"
        'a.png,A,train,"a note, with a comma\nand a line"\n'
        "a.png,A,train,again\n"
        "b.png,A,train,\nb.png,B,train,\n"
        "c.png,A,train,\nc.png,A,val,\n"
        "d.png,,train,\n"
        "e.png,A,someday,\n"
        "gone.png,A,train,\n",
    )
    assert {file: one.category for file, one in listed.items()} == {
        "a.png": "",
        "b.png": "two labels",
        "c.png": "contradictory rows",
        "d.png": "no label",
        "e.png": "no split",
        "f.png": "not in the table",
        "gone.png": "missing file",
    }


@pytest.mark.parametrize("column", ["split", "Subset", "set"])
def test_numbers_in_a_column_of_splits_are_not_ignored(tmp_path, column):
    """0, 1 and 2 may stand for train, val and test: drawing splits instead would mix what somebody kept apart."""
    root = tree(tmp_path / "data", "a.png", "b.png")
    with pytest.raises(DataError, match=f"the column '{column}' of .* names no split that is known"):
        by_table(root, f"file,label,{column}\na.png,A,0\nb.png,B,2\n")
    assert by_table(root, f"file,label,{column}\na.png,A,\nb.png,B,\n")["a.png"] == FileEntry("a.png", "A")


def test_numbered_folds_are_no_splits(tmp_path):
    root = tree(tmp_path / "data", "a.png", "b.png")
    listed = by_table(root, "file,label,fold\na.png,A,1\nb.png,B,2\n")
    assert [one.split for one in listed.values()] == [None, None]
    with pytest.raises(DataError, match="names no split"):
        by_table(root, "file,label,fold\na.png,A,1\n", DataRecipe(split_column="fold"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nothing in it"),
        ("file,label\n", "no rows"),
        ("file\na.png\n", "no label column; it has file"),
        ("label\nA\n", "no file column"),
        ("file,label\na.png,A,more\n", "row 2 .* has 3 cells"),
        ("file,label\nx.png,A\ny.png,B\n", "names 2 files, and none of them"),
        ("file,label\n\0,A\n", "names 1 files|cannot be read"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        by_table(tree(tmp_path / "data", "a.png"), text)


def test_a_table_that_is_missing_or_no_text(tmp_path):
    root = tree(tmp_path / "data", "a.png")
    with pytest.raises(DataError, match="there is no table"):
        list_by_table(root, ["a.png"], tmp_path / "none.csv", DataRecipe())
    (tmp_path / "table.xlsx").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        list_by_table(root, ["a.png"], tmp_path / "table.xlsx", DataRecipe())


def test_a_first_row_of_data_is_not_repeated(tmp_path):
    with pytest.raises(DataError) as error:
        by_table(tree(tmp_path / "data", "a.png"), "Meier_Anna.png,COVID\na.png,Normal\n")
    assert "Meier" not in str(error.value)


def chosen(recipe: DataRecipe, *pairs: tuple[str, str]) -> tuple[list[str], list[str]]:
    listed, notes = choose([FileEntry(str(n), label, site) for n, (site, label) in enumerate(pairs)], recipe)
    return [one.category for one in listed], notes


def test_sites_and_classes_of_the_recipe():
    pairs = ("n", "A"), ("n", "B"), ("s", "A"), ("s", "C")
    assert chosen(DataRecipe(), *pairs)[0] == [""] * 4
    assert chosen(DataRecipe(sites=("n",)), *pairs)[0] == ["", "", "site not chosen", "site not chosen"]
    assert chosen(DataRecipe(classes=("B", "A")), *pairs)[0] == ["", "", "", "class not chosen"]
    with pytest.raises(DataError, match=r"no site x.*this corpus has n, s"):
        chosen(DataRecipe(sites=("n", "x")), *pairs)
    with pytest.raises(DataError, match=r"no class D.*this corpus has A, B, C"):
        chosen(DataRecipe(classes=("A", "D")), *pairs)
    with pytest.raises(DataError, match=r"no class C.*this corpus has A, B"):
        chosen(DataRecipe(classes=("A", "C"), sites=("n",)), *pairs)


def test_a_long_list_of_names_is_not_repeated():
    with pytest.raises(DataError, match=r"there is no class Z.*this corpus has 30 others") as error:
        chosen(DataRecipe(classes=("Z",)), *[("", f"Meier_{n}") for n in range(30)])
    assert "Meier" not in str(error.value)


def test_preferred_sites_are_taken_where_all_are_there():
    pairs = ("n", "A"), ("s", "A"), ("w", "A")
    categories, notes = chosen(DataRecipe(prefer_sites=("n", "s")), *pairs)
    assert categories == ["", "", "site not chosen"]
    assert "n and s alone" in notes[0]
    assert chosen(DataRecipe(prefer_sites=("n", "x")), *pairs) == ([""] * 3, [])


def test_classes_that_cannot_be_meant():
    with pytest.raises(DataError, match="101 different names"):
        chosen(DataRecipe(), *[("", f"c{n}") for n in range(101)])
    with pytest.raises(DataError, match="upper and lower case"):
        chosen(DataRecipe(), ("n", "Normal"), ("n", "COVID"), ("s", "normal"))


def test_a_table_may_say_that_a_view_is_lateral():
    listed = [FileEntry("a", "A", view="Lateral"), FileEntry("b", "A", view=""), FileEntry("c", "A", view="PA")]
    assert [one.category for one in choose(listed, DataRecipe())[0]] == ["lateral view", "", ""]
    assert [one.category for one in choose(listed, DataRecipe(view_policy="keep"))[0]] == ["", "", ""]
