"""Ways of making sets side by side: on the page, in the Markdown, in the record and in plain text."""

from __future__ import annotations

import json
from dataclasses import replace

from markdown_it import MarkdownIt

from medistill.report.estimates import with_interval
from medistill.report.exchange_page import exchange_markdown, render_exchange
from medistill.report.exchange_variants import TITLE, variants_gains, variants_statements
from medistill.report.studied_site import SetAudit
from medistill.report.wording import NO_BREAK, difference, number
from tests.factories.exchange_example import SITES, compared, study


def test_the_page_has_a_column_for_every_way_and_says_what_each_promises() -> None:
    shown = replace(study(), variants=compared())
    page = render_exchange(shown)
    assert TITLE in page
    assert TITLE not in render_exchange(study())
    assert "<b>west" not in page
    for one in compared().variants:
        assert f'<th scope="col">{one.name}</th>' in page
        for row in one.rows:
            for at in (row.figures, row.over_own, row.over_recipe):
                for cell in () if at is None else (at.home, at.elsewhere, at.everywhere):
                    if cell.macro_auc.value is not None:
                        written = number if at is row.figures else difference
                        assert written(cell.macro_auc.value) in page
    assert "Minus own originals alone" in page
    assert "Minus centroids" in page
    assert "not enough evidence" in page


def test_the_brief_table_has_a_row_for_every_figure() -> None:
    text = exchange_markdown(replace(study(), variants=compared()))
    shown = MarkdownIt("commonmark").enable("table").render(text.partition(f"## {TITLE}")[2])
    table = shown.split("</table>")[0]
    sites, places, kinds = len(SITES), 3, 3
    assert table.count("<tr>") == 1 + 2 + 2 * sites + kinds * places * sites
    assert "<b>west" not in table
    gain = compared().variants[1].rows[0].over_own.elsewhere.macro_auc
    [line] = [one for one in table.split("</tr>") if "elsewhere, minus own originals alone" in one and "north" in one]
    assert with_interval(gain, "difference") in line
    assert "<td>3</td>" in table  # epsilon, rounded up


def test_a_column_says_who_has_no_set_and_what_each_weighs() -> None:
    told = exchange_markdown(replace(study(), variants=compared())).replace(NO_BREAK, " ")
    lines = [line.strip("| ").split(" | ") for line in told.replace("\\_", "_").splitlines() if line.startswith("| ")]
    by_label = {line[0]: tuple(line[1:]) for line in lines}
    assert by_label["Epsilon"] == ("–", "none", "3", "–")
    assert by_label[f"Set of {SITES[0]}"] == (
        "–",
        "20 images; not enough evidence",
        "2 images; not enough evidence",
        "none",
    )
    assert by_label[f"Weight of a sent image at {SITES[0]}"] == ("–", "3", "0.3", "–")
    assert by_label[f"{SITES[0]}, at home, minus centroids"][:2] == ("–", "–")


def test_what_must_be_read_names_settings_promises_and_what_failed() -> None:
    text = " ".join(variants_statements(compared()))
    assert "epsilon 3: the recipe with method.name=private-means, privacy.mode=dp and privacy.epsilon=3." in text
    assert "epsilon 1: nothing could be exchanged, because no budget." in text
    assert "centroids: tiny has no set, because the site has no training images." in text
    assert "epsilon = 3, delta = 1e-05" in text
    assert "each a release by itself" not in text  # one way alone is
    whole, some = compared().variants[2], compared().variants[0]
    ended = replace(whole, reason="no budget."), replace(some, sites=(replace(some.sites[3], reason="lost."),))
    said = [*variants_statements(replace(compared(), variants=ended))]
    assert "epsilon 1: nothing could be exchanged, because no budget." in said
    assert f"centroids: {SITES[3]} has no set, because lost." in said
    assert "whoever takes the best column has chosen by them" in text
    twice = replace(compared(), variants=(*compared().variants, replace(compared().variants[1], name="epsilon 10")))
    said = " ".join(variants_statements(twice)).replace(NO_BREAK, " ")
    assert "2 ways are under differential privacy, each a release by itself" in said


def test_the_gains_are_those_over_all_sites() -> None:
    gains = [*variants_gains(compared())]
    [line] = [one for one in gains if f"originals of {SITES[0]} " in one]
    for one in compared().variants[:2]:
        told = one.rows[0].over_own.everywhere.macro_auc
        assert f"{with_interval(told, 'difference')} by {one.name}" in line
    assert "epsilon 1" not in line
    assert not any("south" in one for one in gains)  # its own originals taught nothing


def test_the_record_has_the_ways_and_none_where_none_was_tried() -> None:
    assert study().as_json()["variants"] is None
    told = json.loads(json.dumps(replace(study(), variants=compared()).as_json(), allow_nan=False))["variants"]
    assert len(told["alone"]) == len(SITES)
    assert [one["name"] for one in told["variants"]] == ["centroids", "epsilon 3", "epsilon 1"]
    private = told["variants"][1]
    assert private["settings"][0] == "method.name=private-means"
    assert private["sites"][0]["epsilon"] == 2.9961
    assert set(private["rows"][0]["over_recipe"]) == {"home", "elsewhere", "everywhere"}
    assert told["variants"][0]["rows"][0]["over_recipe"] is None


def test_a_column_names_a_few_of_many_criteria() -> None:
    first = compared().variants[0]
    audit = SetAudit("fail", ("A", "B", "C", "D"), (), "")
    sites = (replace(first.sites[0], audit=audit), *first.sites[1:])
    several = replace(compared(), variants=(replace(first, sites=sites), *compared().variants[1:]))
    page = render_exchange(replace(study(), variants=several))
    assert "A, B and 2 more" in page
    one_over = replace(audit, failed=("A", "B", "C"))
    sites = (replace(first.sites[0], audit=one_over), *first.sites[1:])
    assert "A, B and C" in render_exchange(
        replace(study(), variants=replace(compared(), variants=(replace(first, sites=sites),)))
    )
