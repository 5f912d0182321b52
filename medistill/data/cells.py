"""Cells: header and rows of a table as a spreadsheet or a program wrote it, whatever its separator and encoding."""

from __future__ import annotations

import codecs
import csv
import io
import re
from pathlib import Path
from typing import NamedTuple

from medistill.errors import DataError

SEPARATORS = ",;\t|"
_DECLARED = re.compile(r'"?sep=(.)"?[;,\t]*', re.IGNORECASE)
"""The line by which Excel is told the separator."""
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How files of Excel itself begin, new and old."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks; the longer one goes before the one that it begins with."""
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class Cells(NamedTuple):
    """A table.

    Attributes:
        header: the names of its columns.
        rows: the other lines, each with as many cells.
        notes: what the report has to say of how it was read.
    """

    header: list[str]
    rows: list[list[str]]
    notes: list[str]


def read_cells(table: Path) -> Cells:
    """Read a table in UTF-8, UTF-16 or Windows' western European code.

    Raises:
        DataError: it cannot be read, has nothing in it, or its rows are of different lengths.
    """
    if not table.is_file():
        raise DataError(f"there is no table {table}", expected="a CSV file", do="check the path of --labels")
    try:
        content = table.read_bytes()
    except OSError as error:
        raise _unreadable(table, str(error.strerror)) from None
    text, notes = _text(content, table)
    try:
        text, separator = _parted(text)
        cells = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        lines = [line for line in cells if any(cell.strip() for cell in line)]
    except csv.Error:
        raise _unreadable(table, "no CSV") from None
    if len(lines) < 2:
        raise DataError(
            f"{table} has {'no rows' if lines else 'nothing in it'}",
            expected="a line that names the columns, then a row a file",
            do="check the path of --labels",
        )
    header = [name.strip() for name in lines[0]]
    while not header[-1]:
        header.pop()
    rows = [line[: len(header)] if not any(map(str.strip, line[len(header) :])) else line for line in lines[1:]]
    for number, line in enumerate(rows, start=2):
        if len(line) != len(header):
            raise DataError(
                f"row {number} of {table} has {len(line)} cells, the first line has {len(header)}",
                expected="as many cells in every row",
                do="put cells that hold a comma into quotation marks",
            )
    return Cells(header, rows, notes)


def _unreadable(table: Path, why: str) -> DataError:
    return DataError(
        f"{table} cannot be read: {why}",
        expected="a CSV file, best in UTF-8, whose first line names the columns",
        do="save it as CSV in UTF-8",
    )


def _text(content: bytes, table: Path) -> tuple[str, list[str]]:
    """The text of a file, and what is to be said of the code that it is in."""
    if content.startswith(_WORKBOOKS):
        raise _unreadable(table, "it is a workbook of Excel, not CSV")
    mark, code = next(((mark, code) for mark, code in _MARKS if content.startswith(mark)), (b"", "utf-8"))
    content = content.removeprefix(mark)
    if not mark and b"\0" in content[:200]:  # text of two bytes a character has a 0 in every other one
        code = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    for attempt in (code, "cp1252") if code == "utf-8" else (code,):
        try:
            text = content.decode(attempt)
        except UnicodeDecodeError:
            continue
        if _NO_TEXT.search(text):
            break
        told = [
            "The table of labels is not in UTF-8 and was read as Windows' western European code (cp1252): look at its "
            "names with accents, or save it in UTF-8."
        ]
        return text, told if attempt == "cp1252" else []
    raise _unreadable(table, "it is no text in UTF-8, UTF-16 or cp1252")


def _parted(text: str) -> tuple[str, str]:
    """A table without the line that declares its separator, and that separator."""
    text = text.lstrip("\ufeff\r\n")  # a second mark stands where files with one were joined
    first = text.splitlines()[0] if text else ""
    if declared := _DECLARED.fullmatch(first.strip(" ")):
        return text[len(first) :].lstrip("\r\n"), declared[1]
    return text, max(SEPARATORS, key=re.sub(r'"[^"]*"', "", first).count)
