"""A bound from below as the report words it, beside a promise from above."""

from __future__ import annotations

from dataclasses import replace

from medistill.report.one_run_statements import one_run_sentences
from medistill.report.report_page import markdown, render_html
from tests.factories import report_example

FOUND = report_example.one_run()


def said(**changes: object) -> str:
    return (
        " ".join(one_run_sentences(replace(FOUND, **changes), "patient")).replace("\u202f", " ").replace("\u00a0", " ")
    )


def test_a_bound_is_told_with_its_confidence_delta_unit_and_guesses() -> None:
    text = said()
    assert "decided for each of 100 patients" in text
    assert "(47 patients were)" in text
    assert (
        "With 95 % confidence its making is not differentially private for one patient with an epsilon below 0.23 at"
        in text
    )
    assert "delta = 1e-05 (34 of 40 guesses right)" in text
    assert "There is no promise to hold it against: the set states no differential privacy." in text


def test_a_promise_stands_beside_it() -> None:
    text = said(stated_epsilon=3.0, stated_reason="")
    assert "The set promises an epsilon of at most 3.00 for one patient at that delta." in text
    assert "no promise" not in text


def test_nothing_found_is_told_as_no_evidence_of_privacy() -> None:
    nothing = replace(FOUND.bounds[0], epsilon=0.0, right=21)
    text = said(bounds=(nothing, *FOUND.bounds[1:]))
    assert "no better than chance allows (21 of 40 guesses right)" in text
    assert "That shows no privacy" in text
    assert "not differentially private" not in text


def test_a_reason_is_told_alone() -> None:
    assert said(bounds=(), reason="there are 3 patients") == (
        "Epsilon cannot be bounded from below by one run, because there are 3 patients."
    )


def test_page_and_markdown_have_the_table_with_its_controls() -> None:
    report = report_example.whole()
    page = " ".join(render_html(report).replace("\u00a0", " ").split())
    for words in ("Epsilon by one run", "distance, less that of the set itself", "34 of 40", "Promised at most"):
        assert words in page
    opening = markdown(report).split("\n## ")[0].replace("\u202f", " ").replace("\u00a0", " ")
    assert "With 95 % confidence its making is not differentially private for one patient with an epsilon" in opening
