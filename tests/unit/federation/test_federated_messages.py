"""What arrives is hostile until its form was checked; what a site may tell of its figures is little."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from medistill.errors import ArtifactError
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.intervals import Estimate
from medistill.federation.figures import Figure, HomeFigures, home_figures, smallest_cell, tells_too_much
from medistill.federation.messages import BUNDLE, HEAD, MOST, Answer, message, opened, own_version
from medistill.recipe import load_recipe
from tests.factories import report_example

RECIPE = load_recipe("demo", ['data.classes=["COVID", "Normal", "Pneumonia"]', "evaluate.smallest_cell=1"])


class Object:
    """Something that an engine could have unpacked."""

    def __len__(self) -> int:
        raise AssertionError("it was looked at")


class LongBytes(bytes):
    """Bytes that are more than bytes."""


HEADED = b'{"protocol": 1}'


@pytest.mark.parametrize(
    ("received", "words"),
    [
        (None, "no message"),
        ([HEADED], "no message"),
        ({}, "'head'"),
        ({HEAD: "{}"}, "no bytes"),
        ({HEAD: Object()}, "no bytes"),
        ({HEAD: LongBytes(HEADED)}, "no bytes"),
        ({HEAD: b"[1]", BUNDLE: b""}, "JSON object"),
        ({HEAD: b'{"a": NaN}', BUNDLE: b""}, "JSON"),
        ({HEAD: b"[" * 100_000, BUNDLE: b""}, "JSON"),
        ({HEAD: b" " * (MOST[HEAD] + 1)}, "more than"),
        ({HEAD: HEADED}, "'bundle'"),
        ({HEAD: HEADED, BUNDLE: {"path": "/etc/passwd"}}, "'bundle'"),
    ],
)
def test_what_is_no_message_is_refused(received: object, words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        opened(received, "east", BUNDLE)


def test_only_the_pieces_that_were_asked_for_are_taken() -> None:
    found = opened({HEAD: HEADED, BUNDLE: b"zip", "__headers__": Object(), "code": b"import os"}, "east", BUNDLE)
    assert (found.head, found.files) == ({"protocol": 1}, {BUNDLE: b"zip"})


@pytest.mark.parametrize(
    ("protocol", "version", "same"), [(1, None, True), (2, None, False), (1, "0.0.9", False), ("1", None, False)]
)
def test_another_version_is_seen(protocol: object, version: str | None, same: bool) -> None:
    head = json.dumps({"protocol": protocol, "medistill": version or own_version()}).encode()
    assert opened({HEAD: head}, "east").same_version is same


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "rm -rf"}, {"words": "free text"}, {"verdict": "as you like"}, {"figures": {"hidden": False}},
        {"figures": {"hidden": True, "confidence": 0.95, "class_patients": [3], "rows": []}},
        {"figures": {"hidden": False, "confidence": 0.95, "class_patients": [-1, 2], "rows": []}},
    ],
)  # fmt: skip
def test_an_answer_has_no_room_for_words(changes: dict[str, Any]) -> None:
    whole = Answer(protocol=1, medistill=own_version(), code="done").as_json()
    assert Answer.from_json(whole, "east").code == "done"
    with pytest.raises(ArtifactError):
        Answer.from_json({**whole, **changes}, "east")


def evaluated(*patients: int) -> Evaluation:
    whole = report_example.whole().evaluation
    return replace(whole, class_patients=patients)


def test_a_small_cell_hides_everything() -> None:
    shown = home_figures(evaluated(12, 30, 0), evaluated(12, 30, 0), RECIPE)
    assert shown.class_patients == (12, 30, 0)
    assert [row.learnt_from for row in shown.rows] == ["exchange", "own_originals", "own_set"]
    hidden = home_figures(evaluated(9, 30, 0), evaluated(9, 30, 0), RECIPE)
    assert hidden == HomeFigures(hidden=True, confidence=shown.confidence)
    assert b"30" not in message(Answer(protocol=1, medistill="0", code="done", figures=hidden))[HEAD]


def test_no_recipe_can_lower_what_counts_as_few() -> None:
    assert RECIPE.evaluate.smallest_cell == 1
    assert smallest_cell(RECIPE) == 10
    assert smallest_cell(load_recipe("demo", ["evaluate.smallest_cell=25"])) == 25


def test_the_server_sees_where_a_site_tells_too_much() -> None:
    shown = home_figures(evaluated(12, 30, 0), None, RECIPE)
    assert not tells_too_much(shown, RECIPE)
    assert tells_too_much(shown.replaced(class_patients=(9, 30, 0)), RECIPE)
    assert tells_too_much(shown.replaced(class_patients=(12, 30)), RECIPE)
    assert tells_too_much(shown.replaced(confidence=0.01), RECIPE), (
        "an interval of another level under the table's head"
    )


@pytest.mark.parametrize("told", [{"low": 0.95, "value": 0.9}, {"value": 0.9, "high": 0.1}, {"low": 0.6, "high": 0.5}])
def test_a_figure_lies_in_its_interval(told: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="outside its interval"):
        Figure(**told)
    with pytest.raises(ValidationError, match="no figure is told"):
        HomeFigures(hidden=False, confidence=0.95)


def test_a_reason_stays_at_home() -> None:
    found = Figure.of(Estimate(0.5, reason="only Jane Doe was there"))
    assert found.as_json() == {"value": 0.5, "low": None, "high": None}
    assert "Jane" not in found.estimate.reason
    with pytest.raises(ValidationError):
        Figure(value=1.5)
