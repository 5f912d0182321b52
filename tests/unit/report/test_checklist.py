"""The checklists against the numbering of the originals, and their answers against what a run knows."""

from __future__ import annotations

import pytest

from medistill.report.checklist import STATEMENTS, UNKNOWN, checklist, items
from medistill.report.record import Report

TRIPOD = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 "
    "18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)
"""Collins et al. 2024, table 2."""
LEFT_TO_AUTHORS = {
    "TRIPOD+AI": {"1", "2", "3a", "5b", "6c", "8b", "10", "17", "18a", "18b", "18d", "19", "25", "27c"},
    "CLAIM 2024": {"2", "3", "5", "11", "13", "14", "15", "16", "17", "18", "21", "34", "41", "44"},
}
"""Items of which no run can know anything."""


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("TRIPOD+AI", TRIPOD.split()), ("CLAIM 2024", [str(number) for number in range(1, 45)])],
)
def test_every_item_of_the_original_is_there_once_and_in_order(name: str, numbers: list[str]) -> None:
    assert [item.number for item in items() if item.checklist == name] == numbers


def test_items_name_statements_that_exist_and_every_statement_is_named() -> None:
    assert {name for item in items() for name in item.answer} == set(STATEMENTS)


def test_topics_are_short() -> None:
    assert all(3 < len(item.topic) <= 80 for item in items())


def test_answers_are_given_where_the_run_knows_and_nowhere_else(report: Report) -> None:
    rows = checklist(report)
    assert len(rows) == len(items())
    for row in rows:
        assert row.available == (row.answer != UNKNOWN)
        assert not (row.available and row.item in LEFT_TO_AUTHORS[row.checklist]), row
        assert row.answer == UNKNOWN or row.answer.endswith((".", "xray")), row.answer
    told = {(row.checklist, row.item): row.answer for row in rows}
    assert "37 files" in told["CLAIM 2024", "35"]
    assert told["CLAIM 2024", "20"] == "No patient is in more than one split."
    assert "margin of 0.05" in told["TRIPOD+AI", "4"]
    assert "torch 2.13.0" in told["CLAIM 2024", "23"]
    assert "by sex" in told["TRIPOD+AI", "14"]
    assert "by site" in told["TRIPOD+AI", "12d"]


def test_a_folder_that_knows_little_claims_little(bare: Report) -> None:
    told = {(row.checklist, row.item): row for row in checklist(bare)}
    for item in ("5a", "6b", "7", "12a", "20a", "20b", "18f"):
        assert not told["TRIPOD+AI", item].available, item
    for item in ("7", "8", "9", "12", "19", "20", "23", "33", "42"):
        assert not told["CLAIM 2024", item].available, item
    assert told["CLAIM 2024", "37"].available
