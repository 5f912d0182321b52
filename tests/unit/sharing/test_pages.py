"""What ``report.json`` of a bundle may hold: what this version writes of it, less what a former one did not know."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from medistill.errors import ArtifactError
from medistill.sharing.audit_file import json_bytes
from medistill.sharing.pages import report_of_bytes
from tests.factories import report_example


@pytest.fixture(scope="module")
def left() -> dict[str, Any]:
    """A report that may leave, as JSON."""
    known: dict[str, Any] = json.loads(
        json_bytes(replace(report_example.alone(report_example.whole()), course=report_example.course()).as_json())
    )
    assert known["course"]["skipped"] == []
    return known


def test_fields_that_a_former_version_did_not_have_may_be_absent(left: dict[str, Any]) -> None:
    former = {**left, "course": {name: held for name, held in left["course"].items() if name != "skipped"}}
    read = report_of_bytes(json_bytes(former))
    assert read == report_of_bytes(json_bytes(left))
    assert read.course is not None
    assert read.course.skipped == ()


@pytest.mark.parametrize(
    "alter",
    [
        lambda report: report.update(remark="of one patient"),
        lambda report: report["course"].update(remark="of one patient"),
        lambda report: report["evaluation"].update(remark=[1]),
        lambda report: report["course"].update(skipped={"0": "of one patient"}),
    ],
)
def test_whatever_else_stands_in_it_is_refused(left: dict[str, Any], alter: Callable[[dict[str, Any]], None]) -> None:
    altered = json.loads(json.dumps(left))
    alter(altered)
    with pytest.raises((ArtifactError, ValidationError)):
        report_of_bytes(json_bytes(altered))
