"""One section in three renderers, none of which knows it: numbers, names and reasons are those of its record."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import pytest

from medistill.evaluate.intervals import Estimate
from medistill.recipe.arms import ARMS
from medistill.report.arm_style import ARM_STYLES, arm_name, styles_of
from medistill.report.blocks import Beside, Bullets, Fold, Heading, Pictures, Prose
from medistill.report.kinds import Kind
from medistill.report.notes import Notes
from medistill.report.page import Masthead, Page
from medistill.report.palette import ACCENT, FAINT, INK, MARGIN, MUTED, PAPER
from medistill.report.render.csv import csv_text
from medistill.report.render.html import html_page
from medistill.report.render.html_blocks import BlockWriter
from medistill.report.render.html_table import table_html
from medistill.report.render.markdown import markdown_page
from medistill.report.section import Section
from medistill.report.table import FIGURE, Cell, Column, Group, Shaded, Span, Table, table
from medistill.report.text import Absent, Below, Code, Link, Missing, Strong, Unavailable, Value

EVIL = "<i>a|b</i>"
AREA = Estimate(0.90712, 0.88, 0.93)
LONE = Estimate(0.5, reason="there is one patient")
NOTHING = Estimate.impossible("no image is there")
ROWS = (("distilled", AREA, 12000), ("raw", LONE, 3), ("random", NOTHING, 0))
COLUMNS = (Column("Trained on", "arm"), Column("Macro AUC", "estimate"), Column("Images", "count"))
SECTION = Section(
    "new",
    f"What nobody knew {EVIL}",
    (
        Prose(("See ", Link("below", "new"), ", type ", Code("x"), f" or read {EVIL}.")),
        table("Areas", COLUMNS, ROWS, caption=f"Of {EVIL}"),
    ),
    contents="New",
    data=(table("new", (Column("arm"), *FIGURE), [(arm, "macro AUC", area) for arm, area, _ in ROWS]),),
    brief=(Heading("In brief"), table("", COLUMNS, ROWS), Bullets(((Strong("Not so."), f" {EVIL}"),))),
)
PAGE = Page("t", Masthead("k", "h", "l"), (SECTION,), "Written by hand", "new.json", "In brief of all")


class Cells(HTMLParser):
    """The cells of a page row by row, as texts, and the tags of it all."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] = re.sub(r"\s+", " ", self.rows[-1][-1] + data)


def written(of: Table) -> Cells:
    return Cells(str(table_html(of, BlockWriter(Notes()))))


def test_a_page_has_the_numbers_and_numbers_the_reasons() -> None:
    page = html_page(PAGE)
    cells = Cells(page)
    assert cells.rows == [
        ["Trained on", "Macro AUC", "Images"],
        ["Distilled images", "0.907 0.880 to 0.930", "12 000"],
        ["All originals", "0.500 no interval1", "3"],
        ["Random originals", "not available2", "0"],
    ]
    assert re.findall(r'<li id="note-(\d)">(.*?)\.</li>', page) == [
        ("1", "there is one patient"),
        ("2", "no image is there"),
    ]
    assert EVIL not in page
    assert ("a", {"href": "#new"}) in cells.tags


def test_markdown_has_what_is_said_in_brief_and_nothing_else() -> None:
    text = markdown_page(PAGE)
    assert text.startswith("# In brief of all\n\n## In brief\n\n| Trained on | Macro AUC | Images |\n|---|---|---|\n")
    assert "| All originals | 0.500 (no interval) | 3 |" in text
    assert "| Random originals | not available (no image is there) | 0 |" in text
    assert "- **Not so.** &lt;i&gt;a\\|b&lt;/i&gt;" in text
    assert "nobody knew" not in text


def test_csv_has_every_digit_and_four_columns_for_an_estimate() -> None:
    (of,) = SECTION.data
    assert list(csv.reader(io.StringIO(csv_text(of)))) == [
        ["arm", "figure", "value", "low", "high", "reason"],
        ["distilled", "macro AUC", "0.90712", "0.88", "0.93", ""],
        ["raw", "macro AUC", "0.5", "", "", "there is one patient"],
        ["random", "macro AUC", "", "", "", "no image is there"],
    ]


def test_a_table_for_programs_holds_no_words_for_readers() -> None:
    with pytest.raises(TypeError, match="cannot hold"):
        csv_text(table("t", (Column("x"),), [(Strong("so"),)]))
    with pytest.raises(TypeError, match="Markdown has no Pictures"):
        markdown_page(Page("t", Masthead("k", "h", "l"), (), "f", "r", "b", (Pictures(()),)))


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("text", EVIL, EVIL),
        ("class", "Lung_Opacity", "Lung Opacity"),
        ("arm", "hard", "Distilled, hard labels"),
        ("count", 1234567, "1 234 567"),
        ("count", "3 of 40", "3 of 40"),
        ("number", 0.5, "0.500"),
        ("percent", 0.123, "12.3 %"),
        ("general", 0.00012345, "0.000123"),
        ("seconds", 75.0, "1 min 15 s"),
        ("size", 501_760, "502 kB"),
        ("share", Estimate(0.9, 0.8, 0.95), "90.0 % 80.0 to 95.0 %"),
        ("difference", Estimate(0.1, -0.1, 0.2), "+0.100 −0.100 to +0.200"),
        ("points", Estimate(0.1, -0.1, 0.2), "+10.0 −10.0 to +20.0"),
        ("bare", AREA, "0.907"),
        ("bare share", AREA, "90.7 %"),
        ("limits", AREA, "0.880 to 0.930"),
        ("limits", LONE, "not available1"),
        ("thresholds", (0.2, 0.4), "0.30 (0.20 to 0.40)"),
        ("count", Missing(), "not available"),
        ("count", Unavailable("not shown"), "not shown"),
        ("number", Value("count", 1000), "1 000"),
        ("number", (Value("number", 0.25, 1), Below("spread 0.1")), "0.2spread 0.1"),
        ("number", Absent("it was not looked for"), "Not available: it was not looked for."),
        ("number", None, ""),
    ],
)
def test_a_value_is_written_as_its_column_says_or_as_it_says_itself(kind: Kind, value: Cell, expected: str) -> None:
    of = table("t", (Column("a"), Column("b", kind)), [("r", value)])
    assert written(of).rows[1][1].replace("\u00a0", " ").replace("\u202f", " ") == expected


def test_headings_that_columns_share_stand_above_them() -> None:
    columns = (Column("a"), Column("b", "count", under="both"), Column("c", "count", under="both"))
    found = written(table("t", columns, [("r", 1, 2)]))
    assert found.rows == [["a", "both"], ["b", "c"], ["r", "1", "2"]]
    assert ("th", {"scope": "col", "rowspan": "2"}) in found.tags
    assert ("th", {"scope": "colgroup", "colspan": "2"}) in found.tags


def test_cells_over_several_columns_leave_the_kinds_of_the_others_alone() -> None:
    columns = (Column("a"), Column("b", "count"), Column("c", "count"), Column("d", "percent"))
    rows = [("r", Span(2, "both"), 0.5), ("s", 1, Shaded(0.25, "x", strong=True), 0.25), (Span(4, "a remark"),)]
    found = written(Table("t", columns, (Group(tuple(rows), "title"), Group(()))))
    assert [[cell.replace("\u202f", " ") for cell in row] for row in found.rows[1:]] == [
        ["title"],
        ["r", "both", "50.0 %"],
        ["s", "1", "x", "25.0 %"],
        ["a remark"],
    ]
    assert ("tr", {"class": "told"}) in found.tags
    assert ("td", {"class": "heat n right"}) in found.tags
    assert ("i", {"style": "opacity: 0.25", "aria-hidden": "true"}) in found.tags


def test_blocks_lie_within_blocks() -> None:
    inner = Fold("more", (Beside((Prose("one"), Prose(("two ", Value("number", 0.5)), small=True)), "stack"),))
    page = " ".join(str(BlockWriter(Notes()).blocks((inner,))).split())
    assert page == (
        '<details><summary>more</summary> <div class="stack"> <p>one</p> <p class="small">two 0.500</p> </div> '
        "</details>"
    )


def test_arms_differ_in_every_way_in_which_they_are_shown() -> None:
    assert set(ARM_STYLES) == set(ARMS)
    styles = list(ARM_STYLES.values())
    for field in ("display_name", "mark", "line", "key_dash", "path"):
        assert len({getattr(style, field) for style in styles}) == len(ARMS), field
    for field in ("light", "dark"):
        assert len({getattr(style.look, field) for style in styles}) == len(ARMS), field
    assert not {style.mark for style in styles} & {INK, MUTED, FAINT, ACCENT, MARGIN, PAPER}
    page = html_page(PAGE)
    for name, style in ARM_STYLES.items():
        assert style.display_name == ARMS[name].display_name
        assert f"--{name}: {style.look.light};" in page
        assert f"--{name}: {style.look.dark};" in page
        assert arm_name(name) == style.display_name


def test_an_arm_that_nobody_drew_before_looks_unlike_the_others() -> None:
    names = {**{name: arm.display_name for name, arm in ARMS.items()}, "herding": "Herding", "facility": "Facility"}
    looks = [style.look for style in styles_of(names)]
    for field in ("light", "dark", "dash", "marker"):
        assert len({getattr(look, field) for look in looks}) == len(names), field
    for look in looks:
        assert contrast(look.light, "#ffffff") >= 4.5
        assert contrast(look.dark, "#14171a") >= 4.5


def contrast(one: str, other: str) -> float:
    """Of two colours, by the formula of WCAG 2.2."""

    def luminance(colour: str) -> float:
        channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
