"""What a report says of text in the pixels: looked for by what, with what result, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medistill.report.caveats import caveats
from medistill.report.data_statements import burnt_in_text
from medistill.report.methods_text import methods
from medistill.report.record import Report
from medistill.report.report_page import render_html
from tests.factories.report_example import report_of, whole

CAVEAT = "Burnt-in text was not looked for"


@pytest.fixture(scope="module")
def unchecked() -> Report:
    return replace(whole(), benchmark=None)


def of(report: Report, policy: str, masked: int = 0) -> Report:
    assert report.corpus is not None
    refused = {"truncated": 9, **({"burnt-in text": 4} if policy == "quarantine" else {})}
    checked = replace(report.corpus, text_by="RapidOCR 3.10.0", text_policy=policy, text_masked=masked, refused=refused)
    return replace(report, corpus=checked)


def plain(text: str) -> str:
    """Without the spaces that keep a number and its noun on one line."""
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("&nbsp;", " ")


@pytest.mark.parametrize(
    ("policy", "masked", "expected"),
    [("mask", 1, "in 1 image."), ("mask", 12, "in 12 images."), ("quarantine", 0, "which befell 4 files.")],
)
def test_what_looked_and_what_came_of_it(unchecked: Report, policy: str, masked: int, expected: str) -> None:
    report = of(unchecked, policy, masked)
    said = plain(burnt_in_text(report))
    assert "(RapidOCR 3.10.0)" in said
    assert expected in said
    assert "cannot be concluded" in said
    assert said in plain(" ".join(methods(report)))
    assert expected in plain(render_html(report))


def test_unchecked_says_so_in_the_text_and_among_the_caveats(unchecked: Report) -> None:
    said = "Text burnt into the pixels was not looked for."
    assert burnt_in_text(unchecked) == said
    assert said in " ".join(methods(unchecked))
    assert said in render_html(unchecked)
    told = {c.title for c in caveats(report_of(unchecked.evaluation, None, unchecked.corpus, synthetic=False))}
    assert CAVEAT in told


def test_no_caveat_where_it_was_looked_for_or_nobody_is_shown(unchecked: Report) -> None:
    for report, circumstances in (
        (of(unchecked, "mask"), {"synthetic": False}),
        (unchecked, {"synthetic": True}),
        (unchecked, {"synthetic": False, "benchmark": True}),
        (replace(unchecked, corpus=None), {"synthetic": False}),
    ):
        told = {c.title for c in caveats(report_of(report.evaluation, None, report.corpus, **circumstances))}
        assert CAVEAT not in told
