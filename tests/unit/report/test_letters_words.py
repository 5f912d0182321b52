"""What a report says first of text in originals and set: looked for, found, or nobody looked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medistill.privacy.letters import Letters, Overlay
from medistill.report.record import Report
from medistill.report.report_page import markdown, render_html
from medistill.report.text_statements import first_screen_text, text_sentences
from tests.factories.report_example import text_figures, whole


@pytest.fixture(scope="module")
def report() -> Report:
    return replace(whole(), benchmark=None)


def test_an_audited_set_says_what_was_looked_for_in_both(report: Report) -> None:
    said = first_screen_text(report)
    assert "Text was looked for in the originals (RapidOCR 3.10, ONNX Runtime 1.23)" in said
    assert "no letters other than side markers" in said
    first = render_html(report).split('<section id="arms"')[0]
    assert "no letters other than side markers" in first.replace("\N{NO-BREAK SPACE}", " ")
    assert "no letters other than side markers" in markdown(report)


def test_a_set_that_nothing_read_says_so_on_the_first_screen(report: Report) -> None:
    assert report.corpus is not None
    assert report.distilled is not None
    bare = replace(report, audit=None, missing={**report.missing, "audit": "it was not made"})
    large = replace(bare, distilled=replace(report.distilled, shape=(1, 64, 64)))
    unread = "Text burnt into the originals was not looked for. The set was not read for letters"
    assert first_screen_text(large).startswith(unread)
    assert unread in render_html(large)
    assert unread in markdown(large)
    small = replace(bare, distilled=replace(report.distilled, shape=(1, 63, 63)))
    assert first_screen_text(small) == ""
    assert unread not in render_html(small)


def test_an_audit_that_could_not_read_says_so() -> None:
    text = text_figures()
    assert (
        "32 pixels are too small for letters below a twelfth"
        in text_sentences(replace(text, legible=False, side=32))[0]
    )
    assert "did not look for text" in text_sentences(None)[0]
    assert "it was not read" in text_sentences(replace(text, reader=""))[1]
    found = (Letters("image", 3, 1, 9, 0.9), Letters("mean of a class", 0, 1, 9, 0.8))
    told = " ".join(text_sentences(replace(text, found=found, overlays=(Overlay("a", 99, 0.1, 9, 0.8, 0.004),))))
    assert "stand in 1\N{NO-BREAK SPACE}image and 1\N{NO-BREAK SPACE}mean of several" in told
    assert "the set shows it" in told
