"""Markdown as another renderer of tables shows it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from medistill.report.arm_style import arm_name
from medistill.report.comparison_page import comparison_markdown
from medistill.report.record import Report
from medistill.report.render.markdown import escaped
from medistill.report.report_page import markdown
from tests.factories import report_example, reported_run


class Shown(HTMLParser):
    """Tags, the text, and the cells of tables."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.in_cell = False
        self.rows: list[list[str]] = []
        self.feed(MarkdownIt("commonmark").enable("table").render(source))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] += data


def test_a_report_is_short_and_its_tables_are_whole(report: Report) -> None:
    text = markdown(report)
    assert len(text.splitlines()) < 80
    shown = Shown(text)
    assert shown.tags.count("table") == 2
    arms, differences = shown.rows[:5], shown.rows[5:9]
    assert {len(row) for row in arms} == {6}
    assert {len(row) for row in differences} == {3}
    names = [arm_name(arm.arm) for arm in report.evaluation.arms]
    assert [row[0] for row in arms[1:]] == names
    for arm, row in zip(report.evaluation.arms, arms[1:], strict=True):
        assert arm.macro_auc.value is not None
        assert row[2].startswith(f"{arm.macro_auc.value:.3f}")
    assert re.sub(r"\s", " ", report.verdict.against_raw) in re.sub(r"\s", " ", shown.text)
    for expected in ("No formal privacy guarantee", "medistill distill --recipe run/recipe.toml", "Seed: 7", "60"):
        assert expected in shown.text


def test_other_networks_sites_and_published_figures_are_told() -> None:
    whole = report_example.whole()
    noted = replace(whole, sites=(replace(whole.sites[0], note="COVID takes no part."), *whole.sites[1:]))
    shown = Shown(markdown(noted))
    rows = {row[0]: row[1:] for row in shown.rows}
    held = whole.sites[0].evaluation
    assert held is not None
    for name, found in (("ResNet-18", whole.across[0]), ("Without site bimcv, tested there", held)):
        for cell, arm in zip(rows[name], ("distilled", "raw"), strict=True):
            result = found.arm(arm)  # type: ignore[arg-type]
            assert result is not None
            assert cell.startswith(f"{result.macro_auc.value:.3f}")
    assert "has no training image" in rows["Without site guangzhou, tested there"][0]
    assert "Without site bimcv: COVID takes no part." in shown.text
    assert rows["This run, chosen on validation data"] == ["31.4"]
    assert rows["MTT (Cazenavette et al., CVPR 2022, table 1)"] == ["65.3"]
    assert "40 outer steps in place of 5 000." in shown.text


def test_a_script_in_a_class_name_is_text(report: Report) -> None:
    shown = Shown(markdown(report))
    assert "script" not in shown.tags
    assert reported_run.EVIL in shown.text


@pytest.mark.parametrize(
    "name", ["a|b", "*x*", "_x_", "`c`", "[l](http://a.b)", "<img src=x>", "a\nb", "~~x~~", "# x", "&amp;", "\\", "$x$"]
)
def test_names_are_shown_as_they_are(name: str) -> None:
    shown = Shown(f"| head | other |\n|---|---|\n| {escaped(name)} | y |\n\nText {escaped(name)} text.")
    (_, (cell, other)) = shown.rows
    assert cell.replace("\u2060", "") == " ".join(name.split())
    assert other == "y"
    assert set(shown.tags) == {"table", "thead", "tbody", "tr", "th", "td", "p"}


def test_nobody_is_mentioned_and_nothing_is_linked() -> None:
    assert not re.search(r"@\w", escaped("@team"))
    assert "://" not in escaped("https://a.b")


def test_what_cannot_be_estimated_says_why() -> None:
    lone = report_example.evaluation(("distilled", "raw"), patients=1)
    assert "not available (" in markdown(replace(report_example.whole(), evaluation=lone))


def test_runs_side_by_side() -> None:
    comparison = report_example.comparison()
    shown = Shown(comparison_markdown(comparison))
    assert shown.tags.count("table") == 3
    table = {row[0]: row[1:] for row in shown.rows}
    assert table[""] == ["run-a", "run-b"]
    assert table["Seed"] == ["7", "8"]
    assert all(len(cells) == 2 for cells in table.values())
    assert table["recipe"] == ["covid-xray-cpu", "covid-xray-gpu"]
