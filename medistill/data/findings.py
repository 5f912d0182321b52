"""Findings: what a table says is to be seen in an image, in one cell or in a column for each, and the class of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from medistill.data.columns import no_column
from medistill.data.united import class_words, told_of_map
from medistill.data.words import plain, stated
from medistill.errors import DataError
from medistill.recipe import DataRecipe

_MARKS = {
    **dict.fromkeys(("1", "1.0", "x", "yes", "true", "ja", "wahr", "oui", "vrai", "si", "verdadero"), 1),
    **dict.fromkeys(("0", "0.0", "no", "false", "nein", "falsch", "non", "faux", "falso"), 0),
    **dict.fromkeys(("-1", "-1.0"), -1),
}
"""What stands in the column of a finding: it is there, it is not, it is uncertain (as in CheXpert and MIMIC-CXR)."""
_LIST = re.compile(r"\[(.*)\]", re.DOTALL)


class Findings(NamedTuple):
    """What a row says is to be seen.

    Attributes:
        there: names of findings, as classes are called.
        uncertain: names of those that may be there.
    """

    there: tuple[str, ...]
    uncertain: tuple[str, ...] = ()


class FindingColumns:
    """Where a table has its findings: one column with their names, or a column for each with 1, 0 and -1.

    Raises:
        DataError: it has neither, or the columns that the recipe names hold something else.
    """

    def __init__(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], used: dict[str, int | None], recipe: DataRecipe,
        table: Path,
    ) -> None:  # fmt: skip
        self.recipe, self.column = recipe, None if recipe.finding_columns else used["label"]
        self.named, self.united = class_words(recipe), recipe.united
        self.seen: set[str] = set()
        """Names of findings that rows had, before any was united."""
        self.marked: dict[int, str] = {}
        if recipe.finding_columns:
            self.marked = {_named(name, header, rows, table): name for name in recipe.finding_columns}
        elif self.column is None:
            free = [k for k in range(len(header)) if k not in used.values()]
            self.marked = {k: header[k] for k in free if _tells_apart([row[k] for row in rows])}
            if len(self.marked) < 2:
                raise no_column("label", header, table)
        cells = [] if self.column is None else [row[self.column] for row in rows]
        self.alone = {cell.strip() for cell in cells if not re.search(r"[|,;\[]", cell)}

    def of(self, row: Sequence[str]) -> Findings:
        """The findings of a row, united as the recipe says."""
        if self.column is not None:
            return Findings(self._united(self._names(row[self.column])))
        marks = {name: _mark(row[k]) for k, name in self.marked.items()}
        there = self._united([name for name, mark in marks.items() if mark == 1])
        maybe = self._united([name for name, mark in marks.items() if mark == -1])
        return Findings(there, tuple(name for name in maybe if name not in there))

    def notes(self) -> list[str]:
        """What is to be said of the classes, once all rows were read.

        Raises:
            DataError: nothing is there of a class that the recipe unites.
        """
        if not self.marked or self.recipe.finding_columns:
            return told_of_map(self.seen, self.recipe)
        return [
            f"The table has no column of labels: its {len(self.marked)} columns of 1 and 0 were taken for one class "
            "each. Name those that are classes with data.finding_columns if that is wrong.",
            *told_of_map(self.seen, self.recipe),
        ]

    def _names(self, cell: str) -> list[str]:
        """The findings in a cell, which several programs write as A|B, and others as A;B, A, B or ['A', 'B']."""
        if inside := _LIST.fullmatch(cell.strip()):
            parts = [part.strip(" '\"") for part in inside[1].split(",")]
        elif "|" in cell:
            parts = cell.split("|")
        else:  # a comma may be part of a name: not where all parts are classes by themselves
            parts = next(
                (
                    parts
                    for sign in ";,"
                    if len(parts := cell.split(sign)) > 1 and {p.strip() for p in parts} <= self.alone
                ),
                [cell],
            )
        return [name for part in parts if (name := stated(part, named=self.named))]

    def _united(self, names: Sequence[str]) -> tuple[str, ...]:
        self.seen.update(names)
        return tuple(dict.fromkeys(self.united.get(name, name) for name in names))


def class_of(found: Findings, recipe: DataRecipe) -> tuple[str, str, str]:
    """The class that an image with these findings gets; or "", and for which category and reason it gets none."""
    if recipe.several_findings == "priority":
        for name in recipe.classes:
            if name in found.there:
                return name, "", ""
            if name in found.uncertain:
                return "", "uncertain finding", "a class that would go before its others is uncertain in its row"
        return (found.there[0], "", "") if found.there else ("", "no label", "its row has no label")
    if len(found.there) > 1:
        reason = f"its row gives it {len(found.there)} findings (data.several_findings is refuse)"
        return "", "several findings", reason
    if found.uncertain:
        return "", "uncertain finding", "its row has a finding that is uncertain (data.several_findings is refuse)"
    return (found.there[0], "", "") if found.there else ("", "no label", "its row has no label")


def _named(name: str, header: Sequence[str], rows: Sequence[Sequence[str]], table: Path) -> int:
    if name not in header:
        raise DataError(
            f"{table} has no column '{name}'",
            expected="columns that data.finding_columns names",
            do="correct data.finding_columns",
        )
    column = header.index(name)
    if any(_mark(row[column]) is None for row in rows):
        raise DataError(
            f"the column '{name}' of {table} holds something other than 1, 0, -1 and empty cells",
            expected="1 where the finding is there, 0 or nothing where not, -1 where it is uncertain",
            do="correct it, or take it out of data.finding_columns",
        )
    return column


def _tells_apart(cells: Sequence[str]) -> bool:
    """Whether a column holds marks alone, 1 for some rows and not for all."""
    marks = {_mark(cell) for cell in cells}
    return None not in marks and 1 in marks and len(marks) > 1


def _mark(cell: str) -> int | None:
    """1, 0 or -1; 0 where nothing is said, None where it is something else."""
    said = plain(stated(cell)).replace(",", ".")
    return _MARKS.get(said) if said else 0
