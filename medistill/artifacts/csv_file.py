"""CSV files in which no word from outside is a formula or steers a terminal, and which are read back as they were."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from medistill.visible import visible

MARK = "'"
"""Stands before a cell that was changed so that it does no harm; table programs take it for the sign of a text."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r")
"""What a table program takes for the start of a formula, behind spaces too."""
_LINES = "\t\n\r"
"""Control characters that CSV carries in quotation marks."""
_CODE = re.compile(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of texts as CSV (RFC 4180), each cell `defused`."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow([defused(name) for name in header])
    writer.writerows([defused(cell) for cell in row] for row in rows)
    return written.getvalue()


def csv_rows(text: str) -> Iterator[dict[str, str]]:
    """The rows of what `csv_text` wrote, column -> cell as it was."""
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    names = [restored(name) for name in header]
    for row in rows:
        yield dict(zip(names, map(restored, row), strict=True))


def defused(text: str) -> str:
    """A cell that no table program runs: numbers and plain words as they are, others behind an apostrophe.

    Hidden characters behind it are spelt as their codes, and a backslash is doubled.
    """
    formula = text.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    if not formula and not text.startswith(MARK) and visible(text, keep=_LINES) == text:
        return text
    return MARK + visible(text.replace("\\", "\\\\"), keep=_LINES)


def restored(cell: str) -> str:
    """The inverse of `defused`."""
    return _CODE.sub(_character, cell.removeprefix(MARK)) if cell.startswith(MARK) else cell


def _character(code: re.Match[str]) -> str:
    return "\\" if code[1] == "\\" else chr(int(code[1][1:], 16))
