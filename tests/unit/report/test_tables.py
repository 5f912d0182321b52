"""Tables against the records they come from, and CSV against Python's own reader and the rules of spreadsheets."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest

from medistill.evaluate.evaluation import OperatingPoint
from medistill.report.record import Report
from medistill.report.render.csv import csv_text, headings, rows
from medistill.report.sections import tables
from medistill.report.sections.course import section
from medistill.report.table import Column, Table, table
from medistill.report.view import ReportView
from tests.factories import report_example

EVERY = {
    *("arms", "networks", "differences", "classes", "operating_points", "confusion", "subgroups", "sites", "across"),
    *("cost", "benchmark", "roc", "calibration", "decision", "course", "looks", "importance", "corpus", "checklist"),
    *("ensembles", "schedules"),
}


def rows_of(table: Table) -> list[dict[str, str]]:
    return [dict(zip(headings(table), row, strict=True)) for row in rows(table)]


def test_a_whole_report_has_every_table_and_rows_as_wide_as_the_headings() -> None:
    found = tables(report_example.whole())
    assert set(found) == EVERY
    for name, one in found.items():
        assert one.name == name
        assert one.rows
        assert {len(row) for row in one.rows} == {len(one.columns)}
        assert {len(row) for row in rows(one)} == {len(headings(one))}
        assert len(set(headings(one))) == len(headings(one))


def test_tables_without_a_row_are_left_out(bare: Report) -> None:
    nothing = {"sites", "across", "benchmark", "schedules", "course", "looks", "importance", "corpus"}
    assert EVERY - set(tables(bare)) == nothing


def test_numbers_are_those_of_the_record_to_the_last_digit() -> None:
    report = report_example.whole()
    found = tables(report)
    distilled = report.evaluation.arm("distilled")
    assert distilled is not None
    (row,) = [row for row in rows_of(found["arms"]) if (row["arm"], row["figure"]) == ("distilled", "macro AUC")]
    assert (float(row["value"]), float(row["low"]), float(row["high"])) == (
        distilled.macro_auc.value,
        distilled.macro_auc.low,
        distilled.macro_auc.high,
    )
    (row,) = [
        row
        for row in rows_of(found["operating_points"])
        if (row["class"], row["arm"], row["rule"], row["figure"]) == ("Normal", "hard", "specificity", "PPV")
    ]
    assert float(row["value"]) == point_of_hard(report).ppv.value
    assert float(row["target specificity"]) == point_of_hard(report).target
    drawn = [row for row in rows_of(found["roc"]) if (row["arm"], row["class"]) == ("raw", "COVID")]
    curve = next(one for one in report.evaluation.roc if (one.arm, one.class_name) == ("raw", "COVID"))
    assert tuple(float(row["sensitivity"]) for row in drawn) == curve.sensitivity
    assert tuple(float(row["low"]) for row in drawn) == curve.low


def point_of_hard(report: Report) -> OperatingPoint:
    hard = report.evaluation.arm("hard")
    assert hard is not None
    return hard.classes[report_example.NAMES.index("Normal")].point("specificity")


def test_what_is_missing_is_empty_and_has_a_reason() -> None:
    lone = report_example.evaluation(("distilled", "raw"), patients=1)
    found = tables(replace(report_example.whole(), evaluation=lone))
    incomplete = [row for row in rows_of(found["arms"]) if "" in (row["value"], row["low"], row["high"])]
    assert any(row["figure"] == "macro AUC" for row in incomplete)
    assert all(row["reason"] for row in incomplete if not row["figure"].endswith("spread"))
    for one in found.values():
        for row in rows(one):
            assert not {"nan", "inf", "-inf", "None"} & set(row)


def test_sites_stand_with_and_without_their_images() -> None:
    sites = rows_of(tables(report_example.whole())["sites"])
    ways = {(row["site"], row["trained"]) for row in sites if row["value"]}
    assert {("bimcv", "with the site"), ("bimcv", "without the site")} <= ways
    pooled = next(row for row in sites if row["trained"] == "with the site" and row["figure"] == "macro AUC")
    assert pooled["note"] == "macro AUC over the classes COVID; Lung_Opacity; Normal"
    (lost,) = [row for row in sites if (row["site"], row["trained"]) == ("guangzhou", "without the site")]
    assert lost["reason"] == "without it, class 'Viral_Pneumonia' has no training image"


def test_suppressed_subgroups_are_told_without_numbers() -> None:
    found = [row for row in rows_of(tables(report_example.whole())["subgroups"]) if row["name"] == "radiopaedia"]
    assert found
    assert all(row["value"] == row["images"] == row["patients"] == "" and row["reason"] for row in found)


NASTY = (("plain", 'say "so"', "a,b"), ("two\nlines", "ä ß 肺炎", ""), ("-0.25", "1e-07", "+3"))


def test_csv_is_read_back_as_it_was() -> None:
    text = csv_text(table("t", [Column(name) for name in ("one", "two", "three")], NASTY))
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == [["one", "two", "three"], *map(list, NASTY)]
    assert text.endswith("\r\n")
    assert not re.search(r"(?<!\r)\n", text.replace("two\nlines", ""))


@pytest.mark.parametrize(
    "cell", ["=1+1", '=HYPERLINK("http://a.b")', "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-", "−1="]
)
def test_no_cell_is_a_formula(cell: str) -> None:
    text = csv_text(table("t", [Column("class")], [(cell,)]))
    (_, (read,)) = csv.reader(io.StringIO(text, newline=""))
    assert read[0] not in "=+-@\t\r"
    assert read.removeprefix("'") == cell


@pytest.mark.parametrize("cell", ["-0.25", "+3", "-1e-07", "1.5E+3", "-.5"])
def test_numbers_stay_numbers(cell: str) -> None:
    (_, (read,)) = csv.reader(io.StringIO(csv_text(table("t", [Column("x")], [(cell,)]))))
    assert float(read) == float(cell)


def test_a_rate_that_was_not_learned_has_no_column() -> None:
    whole = report_example.whole()
    assert whole.distilled is not None
    for method, learned in (("IADD", True), ("RaT-BPTT", False)):
        made = replace(whole, distilled=replace(whole.distilled, method=method))
        [told] = [table for table in section(ReportView(made)).data if table.name == "course"]
        heads = ["outer step", "loss of the outer step", *(["student learning rate"] if learned else [])]
        assert [list(row) for row in rows_of(told)] == [heads] * 400
        assert ("learning rate" in str(told.caption)) == learned
