"""Table: plain rows of texts, and the same as CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from medistill.artifacts import csv_file

Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of texts; numbers have a point and every digit that is known, and a cell without a value is empty.

    Attributes:
        name: short name, the stem of its file.
        caption: what it shows, one sentence.
        columns: headings.
        rows: as many cells each as there are headings.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def csv_text(table: Table) -> str:
    """The table as CSV (RFC 4180).

    A cell that a spreadsheet would run as a formula, as a class whose folder is called ``=1+1``, is preceded by an
    apostrophe; numbers are left as they are.
    """
    return csv_file.csv_text(table.columns, table.rows)


def cell(value: float | int | None) -> str:
    """A number with every digit; empty where there is none."""
    return "" if value is None else str(value)


def long_rows(*columns: Iterable[float]) -> Iterator[Row]:
    """Rows of equally long columns; a column that is empty as a whole gives empty cells."""
    values = [tuple(column) for column in columns]
    for k in range(len(values[0])):
        yield tuple(cell(column[k]) if column else "" for column in values)
