"""Table: labels, patients, sites, views, splits, sex and age from a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from medistill.data.listing import SPLIT_FOLDERS, Listed, split_named, unusable
from medistill.data.selection import Purpose
from medistill.errors import DataError
from medistill.recipe import DataRecipe

USUAL: dict[str, tuple[str, ...]] = {
    "file": (
        "file",
        "filename",
        "file_name",
        "path",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "image_id",
        "image_index",
    ),
    "label": ("label", "class", "class_name", "finding", "finding_label", "finding_labels", "diagnosis", "category"),
    "patient": ("group_id", "patient_id", "patientid", "patient", "subject_id", "subject", "case_id", "person_id"),
    "site": ("site", "hospital", "centre", "center", "institution", "source"),
    "view": ("view", "view_position", "viewposition", "projection"),
    "split": ("split", "subset", "partition", "fold", "set"),
    "sex": ("sex", "gender", "patient_sex", "patientsex", "patient_gender"),
    "age": ("age", "patient_age", "patientage", "age_years"),
}
"""Names under which each column is looked for, in order, in any case."""
NEEDED = ("file", "label")


def list_by_table(
    folder: Path, files: Sequence[str], table: Path, recipe: DataRecipe, purpose: Purpose = "learn"
) -> list[Listed]:
    """Read what a table says of the files of a folder.

    A row names its file by the path from the folder, from the one above or from the root, by its name alone, or without
    its ending, as long as that is unambiguous. Files that no row names are left out, and rows whose file is missing are
    listed as refused.

    Raises:
        DataError: the table cannot be read, lacks a column, or names none of the files.
    """
    header, rows = read_cells(table)
    columns = {name: _column(name, header, recipe, table) for name in USUAL}
    _settle_split(columns, header, rows, recipe, table, purpose)
    known = _Known(folder, files)
    listed: dict[str, Listed] = {}
    missing: list[Listed] = []
    for row in rows:
        said = {name: (row[column].strip() if column is not None else "") for name, column in columns.items()}
        file = known.find(said["file"])
        if file is None:
            name = PurePosixPath(said["file"].replace("\\", "/")).name
            reason = "the table names it, but it is not there, or several files have this name"
            missing.append(Listed(name, category="missing file", reason=reason))
            continue
        listed[file] = _joined(listed.get(file), _listed(folder, file, said, split_given=columns["split"] is not None))
    if not listed:
        raise DataError(
            f"{table} names {len(rows)} files, and none of them lies in {folder}",
            expected=f"paths from that folder in the column '{header[columns['file'] or 0]}'",
            do="check --data, or name the right column with --set data.file_column=NAME",
        )
    left = [
        Listed(file, category="not in the table", reason="no row of the table names it")
        for file in files
        if file not in listed
    ]
    return [*listed.values(), *left, *missing]


def _settle_split(
    columns: dict[str, int | None],
    header: list[str],
    rows: list[list[str]],
    recipe: DataRecipe,
    table: Path,
    purpose: Purpose,
) -> None:
    """Leave a column of splits out of account where it is empty, or numbers the folds of a cross-validation; to test,
    also where a row says what is not understood, so that no image is lost by it.

    Raises:
        DataError: it says something else that is not understood: splits that somebody gave are not to be ignored.
    """
    column = columns["split"]
    known = any if purpose == "learn" else all
    if column is None or known(split_named(row[column]) for row in rows):
        return
    said = {row[column].strip() for row in rows} - {""}
    if purpose == "test":
        columns["split"] = None
        return
    folds = header[column].lower() == "fold" and all(word.isdigit() for word in said)
    if recipe.split_column or (said and not folds):
        raise DataError(
            f"the column '{header[column]}' of {table} names no split that is known",
            expected="train, val and test",
            do="correct its words, or take the column away to have the splits drawn",
        )
    columns["split"] = None


def read_cells(table: Path) -> tuple[list[str], list[list[str]]]:
    """The first line of a table, and the others.

    Raises:
        DataError: it cannot be read, has nothing in it, or its rows are of different lengths.
    """
    if not table.is_file():
        raise DataError(f"there is no table {table}", expected="a CSV file", do="check the path of --labels")
    try:
        text = table.read_text(encoding="utf-8-sig")
        separator = max(",;\t", key=text.partition("\n")[0].count)
        cells = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        lines = [line for line in cells if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{table} cannot be read: {'it is not in UTF-8' if isinstance(error, UnicodeDecodeError) else 'no CSV'}"
            if not isinstance(error, OSError)
            else f"{table} cannot be read: {error.strerror}",
            expected="a CSV file in UTF-8 whose first line names the columns",
            do="save it as CSV in UTF-8",
        ) from None
    if len(lines) < 2:
        raise DataError(
            f"{table} has {'no rows' if lines else 'nothing in it'}",
            expected="a line that names the columns, then a row a file",
            do="check the path of --labels",
        )
    header = [name.strip() for name in lines[0]]
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise DataError(
                f"row {number} of {table} has {len(line)} cells, the first line has {len(header)}",
                expected="as many cells in every row",
                do="put cells that hold a comma into quotation marks",
            )
    return header, lines[1:]


def _column(name: str, header: list[str], recipe: DataRecipe, table: Path) -> int | None:
    """Index of the column for ``name``; None where there is none and it can be done without."""
    chosen = getattr(recipe, f"{name}_column")
    lowered = [column.lower().replace(" ", "_") for column in header]
    # a first line that names no usual column may be a row with a patient's name: it is not repeated
    titled = any(usual in lowered for names in USUAL.values() for usual in names)
    has = f"it has {', '.join(header)}" if titled else "none of those in its first line is known"
    if chosen:
        if chosen in header:
            return header.index(chosen)
        raise DataError(
            f"{table} has no column '{chosen}'; {has}",
            expected=f"the column that data.{name}_column names",
            do=f"correct data.{name}_column",
        )
    for usual in USUAL[name]:
        if usual in lowered:
            return lowered.index(usual)
    if name in NEEDED:
        raise DataError(
            f"{table} has no {name} column; {has}",
            expected=f"a first line with a column named {', '.join(USUAL[name][:4])} or the like",
            do=f"name it with --set data.{name}_column=NAME",
        )
    return None


class _Known:
    """Finds files by what a table calls them."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        self.places = (f"{folder.resolve().as_posix()}/", f"{folder.as_posix()}/", f"{folder.resolve().name}/")
        self.paths = set(files)
        self.short: dict[str, str | None] = {}
        for file in files:
            path = PurePosixPath(file)
            for name in {path.name, path.stem, path.with_suffix("").as_posix()}:
                self.short[name] = file if name not in self.short else None

    def find(self, said: str) -> str | None:
        """The file that is meant; None where there is none or several."""
        plain = PurePosixPath(said.replace("\\", "/")).as_posix().removeprefix("./")
        if plain in self.paths:
            return plain
        for place in self.places:
            if plain.startswith(place) and plain.removeprefix(place) in self.paths:
                return plain.removeprefix(place)
        return self.short.get(plain)


def _listed(folder: Path, file: str, said: dict[str, str], *, split_given: bool) -> Listed:
    split = split_named(said["split"])
    refused = unusable(folder, file)
    if refused is not None:
        return refused
    if not said["label"]:
        return Listed(file, category="no label", reason="its row has no label")
    if split_given and split is None:
        reason = f"its row gives no split of {', '.join(sorted(set(SPLIT_FOLDERS.values())))}"
        return Listed(file, category="no split", reason=reason)
    return Listed(file, said["label"], said["site"], said["patient"], said["view"], split, said["sex"], said["age"])


def _joined(before: Listed | None, now: Listed) -> Listed:
    """Two rows for one file: alike they are one; else the file is left out."""
    if before is None or before == now or before.category:
        return before or now
    if before.label != now.label:
        return Listed(now.file, category="two labels", reason="the table gives it two labels")
    return Listed(now.file, category="contradictory rows", reason="the table says different things of it")
