"""The published schema of report.json, checked by jsonschema."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medistill.evaluate.evaluation import Evaluation
from medistill.report.record import REPORT_SCHEMA, Report
from medistill.report.schema import attributes, report_schema, schema_text
from tests.factories import report_example

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema, of the test extra, is not installed")
PUBLISHED = Path(__file__).resolve().parents[3] / "docs" / "schema" / f"report-{REPORT_SCHEMA}.json"


def problems(value: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(json.loads(PUBLISHED.read_text(encoding="utf-8")))
    return [error.json_path for error in validator.iter_errors(json.loads(json.dumps(value)))]


def test_the_published_file_is_what_the_records_give() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(), (
        f"run: python -m medistill.report.schema > docs/schema/{PUBLISHED.name}"
    )
    jsonschema.Draft202012Validator.check_schema(report_schema())


def test_reports_fit(report: Report, bare: Report) -> None:
    whole = report_example.whole()
    for value in (report, bare, whole, report_example.alone(whole), report_example.quantised()):
        assert problems(value.as_json()) == []


def drop(value: dict[str, Any]) -> None:
    del value["verdict"]


def add(value: dict[str, Any]) -> None:
    value["evaluation"]["arms"][0]["auc"] = 1


def mistype(value: dict[str, Any]) -> None:
    value["evaluation"]["arms"][0]["macro_auc"]["value"] = "0.9"


def renumber(value: dict[str, Any]) -> None:
    value["schema"] = 1


def other_evaluation(value: dict[str, Any]) -> None:
    value["across"][0]["schema"] = 1


def unknown_word(value: dict[str, Any]) -> None:
    value["verdict"]["judgement"] = "splendid"


def unnumbered_site(value: dict[str, Any]) -> None:
    del value["sites"][0]["evaluation"]["schema"]


@pytest.mark.parametrize(
    ("alter", "where"),
    [
        (drop, "$"),
        (add, "$.evaluation.arms[0]"),
        (mistype, "$.evaluation.arms[0].macro_auc.value"),
        (renumber, "$.schema"),
        (other_evaluation, "$.across[0].schema"),
        (unknown_word, "$.verdict.judgement"),
        (unnumbered_site, "$.sites[0].evaluation"),
    ],
)
def test_an_altered_report_does_not(alter: Callable[[dict[str, Any]], None], where: str) -> None:
    whole = report_example.whole()
    short = replace(
        whole,
        evaluation=without_curves(whole.evaluation),
        across=tuple(map(without_curves, whole.across)),
        sites=tuple(
            replace(site, evaluation=without_curves(site.evaluation))
            for site in whole.sites
            if site.evaluation is not None
        ),
    )
    value = short.as_json()
    assert problems(value) == []
    alter(value)
    assert problems(value) == [where]


def without_curves(evaluation: Evaluation) -> Evaluation:
    return replace(evaluation, roc=(), calibration=(), decision=())


def test_everything_is_described() -> None:
    schema = report_schema()
    for name, part in {"Report": schema, **schema["$defs"]}.items():
        assert part["description"], name
        for field, entry in part["properties"].items():
            assert "description" in entry or "const" in entry, f"{name}.{field}"
            assert "None" not in entry.get("description", "")
        assert part["additionalProperties"] is False


def test_attributes_are_read_over_several_lines() -> None:
    text = "A thing.\n\nAttributes:\n    one: first\n        goes on.\n    two: (R,), second: with a colon.\n"
    assert attributes(text) == {"one": "first goes on.", "two": "(R,), second: with a colon."}
