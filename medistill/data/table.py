"""Table: labels, patients, sites, views, splits, sex and age from a CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from medistill.data.cells import read_cells
from medistill.data.columns import find_columns, view_columns
from medistill.data.findings import FindingColumns, class_of
from medistill.data.known_files import KnownFiles
from medistill.data.listing import SPLIT_FOLDERS, FileEntry, split_named, unusable
from medistill.data.selection import Purpose
from medistill.data.view import united_views
from medistill.data.words import is_nobody, plain, stated
from medistill.errors import DataError
from medistill.recipe import DataRecipe

SPLITS_DROPPED = "The given splits are left out of account:"
"""How a note begins that says so; a corpus with it is not the one that others learn from."""


def list_by_table(
    folder: Path, files: Sequence[str], table: Path, recipe: DataRecipe, purpose: Purpose = "learn"
) -> tuple[list[FileEntry], list[str]]:
    """Read what a table says of the files of a folder.

    A row names its file as `KnownFiles` says. Files that no row names are left out, and rows whose file is missing are
    listed as refused. Words for "not known" say nothing.

    Returns:
        Every file, and what the report has to say of how the table was read.

    Raises:
        DataError: the table cannot be read, lacks a column, or names none of the files.
    """
    header, rows, notes = read_cells(table)
    columns = find_columns(header, recipe, table)
    findings = FindingColumns(header, rows, columns, recipe, table)
    notes += _settle_split(columns, header, rows, recipe, table, purpose)
    of_file = columns["file"] or 0
    known = KnownFiles(folder, files, [row[of_file] for row in rows])
    spanish = _sexes_are_spanish(rows, columns["sex"])
    views = view_columns(columns["view"], header, recipe)
    listed: dict[str, FileEntry] = {}
    missing: list[FileEntry] = []
    for row in rows:
        said = {name: "" if column is None else stated(row[column]) for name, column in columns.items()}
        file, reason = known.find(row[of_file])
        if not file:
            name = PurePosixPath(row[of_file].strip().replace("\\", "/")).name
            missing.append(FileEntry(name, category="missing file", reason=reason))
            continue
        said["view"] = united_views(stated(row[column]) for column in views)
        said["site"] = "" if columns["site"] is None else stated(row[columns["site"]], named=recipe.sites)
        said["sex"] = {"h": "male", "m": "female"}.get(plain(said["sex"]), said["sex"]) if spanish else said["sex"]
        named = class_of(findings.of(row), recipe)
        now = _listed(folder, file, said, named, split_given=columns["split"] is not None)
        listed[file] = _joined(listed.get(file), now)
    if not listed:
        raise DataError(
            f"{table} names {len(rows)} files, and none of them lies in {folder}",
            expected=f"paths from that folder in the column '{header[of_file]}'",
            do="check --data, or name the right column with --set data.file_column=NAME",
        )
    left = [
        FileEntry(file, category="not in the table", reason="no row of the table names it")
        for file in files
        if file not in listed
    ]
    return [*listed.values(), *left, *missing], [*notes, *findings.notes(), *known.notes()]


def _settle_split(
    columns: dict[str, int | None],
    header: list[str],
    rows: list[list[str]],
    recipe: DataRecipe,
    table: Path,
    purpose: Purpose,
) -> list[str]:
    """Leave a column of splits out of account where it is empty, or numbers the folds of a cross-validation; to test,
    also where a row says what is not understood, so that no image is lost by it.

    Returns:
        What to say of a column that somebody who learns from the same files is held to.

    Raises:
        DataError: it says something else that is not understood: splits that somebody gave are not to be ignored.
    """
    column = columns["split"]
    if column is None:
        return []
    understood = [split_named(row[column]) is not None for row in rows]
    if all(understood) or (purpose == "learn" and any(understood)):
        return []
    if purpose == "test":
        columns["split"] = None
        unknown = f"{understood.count(False)} of {len(rows)} rows have none that is known."
        return [f"{SPLITS_DROPPED} {unknown}"] if any(understood) else []
    said = {stated(row[column]) for row in rows} - {""}
    folds = header[column].lower() == "fold" and all(word.isdigit() for word in said)
    if recipe.split_column or (said and not folds):
        raise DataError(
            f"the column '{header[column]}' of {table} names no split that is known",
            expected="train, val and test",
            do="correct its words, or take the column away to have the splits drawn",
        )
    columns["split"] = None
    return []


def _sexes_are_spanish(rows: Sequence[Sequence[str]], column: int | None) -> bool:
    """Whether a column has H and M for hombre and mujer, so that M is not male."""
    return column is not None and {plain(row[column]) for row in rows} >= {"h", "m"}


def _listed(
    folder: Path, file: str, said: dict[str, str], named: tuple[str, str, str], *, split_given: bool
) -> FileEntry:
    split = split_named(said["split"])
    label, category, reason = named
    refused = unusable(folder, file)
    if refused is not None:
        return refused
    if category:
        return FileEntry(file, category=category, reason=reason)
    if split_given and split is None:
        reason = f"its row gives no split of {', '.join(sorted(set(SPLIT_FOLDERS.values())))}"
        return FileEntry(file, category="no split", reason=reason)
    patient = "" if is_nobody(said["patient"]) else said["patient"]
    return FileEntry(file, label, said["site"], patient, said["view"], split, said["sex"], said["age"])


def _joined(before: FileEntry | None, now: FileEntry) -> FileEntry:
    """Two rows for one file: alike they are one; else the file is left out."""
    if before is None or before == now or before.category:
        return before or now
    if before.label != now.label:
        return FileEntry(now.file, category="two labels", reason="the table gives it two labels")
    return FileEntry(now.file, category="contradictory rows", reason="the table says different things of it")
