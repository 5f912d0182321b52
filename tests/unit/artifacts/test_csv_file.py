"""CSV against Python's own reader, the rules of table programs, and itself: what is read back is what was written."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.artifacts.csv_file import csv_rows, csv_text, defused, restored

cells = st.text(st.characters(codec=None, categories=None), max_size=12) | st.text("'=+-@\\\x1b\n\r\t, 1", max_size=8)


@given(st.lists(st.tuples(cells, cells), max_size=5))
def test_every_cell_comes_back_and_none_is_run(rows: list[tuple[str, str]]) -> None:
    text = csv_text(("file", "=reason"), rows)
    assert [(row["file"], row["=reason"]) for row in csv_rows(text)] == rows
    for line in csv.reader(io.StringIO(text, newline="")):
        for cell in line:
            assert cell.lstrip(" ")[:1] not in {"=", "@", "\t", "\r"}
            assert not cell.startswith(("+", "-")) or float(cell) is not None
            assert not [one for one in cell if unicodedata.category(one) in ("Cc", "Cf", "Cs") and one not in "\n\r\t"]


@pytest.mark.parametrize(
    "name", ["=cmd|'/C calc'!A0.png", "@x.png", "+1+1", " =1", "'quoted.png", "a\x1b[31m\\b.png", "＝1"]
)
def test_a_name_that_would_do_harm_stands_behind_an_apostrophe(name: str) -> None:
    assert defused(name).startswith("'")
    assert restored(defused(name)) == name


@pytest.mark.parametrize("plain", ["a/b.png", "-1", "+2.5", "-1e-7", "c\\d.png", "肺炎 1.dcm", ""])
def test_plain_names_and_numbers_are_written_as_they_are(plain: str) -> None:
    assert defused(plain) == plain
