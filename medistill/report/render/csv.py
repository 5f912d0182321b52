"""CSV: a table for programs as texts, every number with every digit."""

from __future__ import annotations

from medistill.artifacts import csv_file
from medistill.evaluate.intervals import Estimate
from medistill.report.kinds import ESTIMATES
from medistill.report.table import Cell, Column, Table
from medistill.report.text import Missing

OF_AN_ESTIMATE = ("low", "high", "reason")
"""What stands beside an estimate's value: the limits of its interval, and why one of the three is missing."""


def csv_text(table: Table) -> str:
    """The table as CSV (RFC 4180).

    A cell that a spreadsheet would run as a formula, as a class whose folder is called ``=1+1``, is preceded by an
    apostrophe; numbers are left as they are.
    """
    return csv_file.csv_text(headings(table), rows(table))


def headings(table: Table) -> tuple[str, ...]:
    """The headings of the texts; an estimate has four."""
    return tuple(
        heading
        for column in table.columns
        for heading in (str(column.heading), *(OF_AN_ESTIMATE if column.kind in ESTIMATES else ()))
    )


def rows(table: Table) -> tuple[tuple[str, ...], ...]:
    """The rows as texts; a cell without a value is empty."""
    return tuple(
        tuple(text for column, cell in zip(table.columns, row, strict=True) for text in _texts(column, cell))
        for row in table.rows
    )


def _texts(column: Column, cell: Cell) -> tuple[str, ...]:
    if column.kind not in ESTIMATES:
        return (_plain(cell),)
    if isinstance(cell, Estimate):
        return (_plain(cell.value), _plain(cell.low), _plain(cell.high), cell.reason)
    return ("", "", "", cell.reason) if isinstance(cell, Missing) else (_plain(cell), "", "", "")


def _plain(cell: Cell) -> str:
    if cell is None or isinstance(cell, str | int | float):
        return "" if cell is None else str(cell)
    raise TypeError(f"a table for programs cannot hold {cell!r}")
