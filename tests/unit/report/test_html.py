"""The page: whole and degenerate reports render, its numbers are the record's, its downloads the tables'."""

from __future__ import annotations

import base64
import html
import re
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from medistill.evaluate.comparison import compare
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.predictions import Truth
from medistill.report.comparison_page import render_comparison
from medistill.report.record import Course, HeldOutSite, Report
from medistill.report.render.csv import csv_text
from medistill.report.render.html_blocks import LARGEST_DOWNLOAD
from medistill.report.report_page import render_html
from medistill.report.sections import tables
from medistill.report.sections.cost import fraction, savings
from medistill.report.verdict import verdict
from medistill.report.wording import size
from tests.factories import report_example

VOID = {"meta", "img", "br", "line", "path", "circle", "use"}


class Reader(HTMLParser):
    """The text of a page by section, its links and its ids; an element that is not closed is an error."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.links: dict[str, str] = {}
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.section = "head"
        self.texts: dict[str, list[str]] = {}
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.tags.append(tag)
        if held.get("id"):
            self.ids.append(str(held["id"]))
        if tag == "section" and held.get("id"):
            self.section = str(held["id"])
        if tag == "a":
            self.links[str(held.get("download") or held["href"])] = str(held["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.setdefault(self.section, []).append(data)

    def words(self, section: str = "") -> str:
        found = self.texts[section] if section else [text for texts in self.texts.values() for text in texts]
        return re.sub(r"[\s\u00a0\u202f]+", " ", " ".join(found))


def read(page: str) -> Reader:
    """The page, after what must hold of every page."""
    reader = Reader(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.tags.count("h1") == 1
    assert "script" not in reader.tags
    for name, target in reader.links.items():
        assert target.startswith("data:text/") if "." in name else target.removeprefix("#") in reader.ids
    assert not re.search(r"https?:|src=\"//|@import|url\((?!#)|\son\w+=", page)
    assert not re.search(r"\bnan\b|\binf\b|Undefined", reader.words())
    assert not re.search(r">\s*None\s*<", page)
    return reader


@pytest.fixture(scope="module")
def page() -> str:
    return render_html(report_example.whole(), report_example.pictures())


def test_the_page_has_every_number_of_the_arms_with_its_interval(page: str) -> None:
    report = report_example.whole()
    words = read(page).words("arms")
    for arm in report.evaluation.arms:
        for entry, scale, digits in ((arm.macro_auc, 1, 3), (arm.accuracy, 100, 1), (arm.brier, 1, 3)):
            assert None not in (entry.value, entry.low, entry.high)
            assert f"{scale * entry.value:.{digits}f}" in words
            assert f"{scale * entry.low:.{digits}f} to {scale * entry.high:.{digits}f}" in words


def test_every_section_of_a_whole_report_says_its_own(page: str) -> None:
    report = report_example.whole()
    reader = read(page)
    point = report.evaluation.arms[0].classes[1].point("specificity")
    for section, said in {
        "head": "40 images distilled from",
        "differences": "Hard-label recovery",
        "classes": f"{100 * point.ppv.value:.1f} %" if point.ppv.value is not None else "",
        "curves": "Decision curves",
        "confusion": f"{100 * report.evaluation.arms[0].confusion[2][1]:.1f}",
        "subgroups": "fewer than 10 patients",
        "sites": "without it, class 'Viral_Pneumonia' has no training image",
        "networks": "DenseNet-121",
        "cost": "1/300 of the bytes",
        "benchmark": "Cazenavette",
        "images": "original training images",
        "course": "Importance of the network",
        "corpus": "12 400 files found, 12 360 accepted, 40 refused",
        "methods": " ".join(report.methods[0].split()),
        "checklists": "items filled in",
        "making": "medistill distill --recipe run/recipe.toml --data xray",
        "glossary": "Net benefit",
    }.items():
        assert said in reader.words(section), section
    assert "Seed 7" in reader.words("head")


def test_contents_lead_to_how_each_arm_was_trained(page: str) -> None:
    contents = page[page.index("<nav") : page.index("</nav>")]
    assert '<a href="#schedules">Training</a>' in contents
    assert 'id="schedules"' in page


def test_first_screen_has_three_arms_of_five(page: str) -> None:
    first = page[: page.index("<nav")]
    assert re.findall(r'<div class="figure (\w+)"', first) == ["distilled", "raw", "random"]


def test_downloads_are_the_tables(page: str) -> None:
    report = report_example.whole()
    links = read(page).links
    for name, table in tables(report).items():
        text = csv_text(table)
        if len(text) <= LARGEST_DOWNLOAD:
            assert base64.b64decode(links[f"{name}.csv"].partition("base64,")[2]) == b"\xef\xbb\xbf" + text.encode()
    assert base64.b64decode(links["methods.txt"].partition("base64,")[2]).decode() == "\n\n".join(report.methods) + "\n"


def test_a_table_that_is_too_long_is_named_instead() -> None:
    steps = 20_000
    course = replace(report_example.course(), loss=(0.123456789,) * steps, student_lr=(0.0123456789,) * steps)
    reader = read(render_html(replace(bare(), course=course)))
    assert "course.csv" not in reader.links
    assert "course (too long for this page; in report.json)" in reader.words("course")


def lacking_a_class() -> Report:
    """One patient without class 3, constant scores: nothing has an interval, a class has nothing at all."""
    splits = report_example.truth(0, 60), report_example.truth(1, 120)
    rows = np.flatnonzero(splits[1].labels != 3)
    test = Truth(splits[1].labels[rows], np.zeros(len(rows), np.int64), {})
    arms = [report_example.predictions(arm, (splits[0], test), 1.0) for arm in ("raw", "distilled")]
    arms[1] = replace(arms[1], test=np.full_like(arms[1].test, 0.25))
    found = compare(
        arms, splits[0], test, report_example.NAMES, report_example.SETTINGS, seed=0, network="VGG-11", parameters=9
    )
    return replace(report_example.alone(report_example.whole()), evaluation=found, verdict=verdict(found))


def of_one_arm() -> Report:
    report = report_example.alone(report_example.whole())
    found = report_example.evaluation(("distilled",))
    return replace(report, evaluation=found, verdict=verdict(found))


def without_numbers() -> Report:
    """Every estimate of the arms, differences and subgroups replaced by a reason."""
    none = Estimate.impossible("it cannot be estimated here")
    report = report_example.whole()
    e = report.evaluation
    found = replace(
        e,
        roc=(), calibration=(), decision=(),
        arms=tuple(replace(arm, macro_auc=none, accuracy=none, macro_auc_spread=None) for arm in e.arms),
        differences=tuple(
            replace(d, macro_auc=none, accuracy=none, class_auc=(none,) * 4, class_auc_delong=(none,) * 4)
            for d in e.differences
        ),
        subgroups=tuple(replace(group, difference=none, arms=()) for group in e.subgroups),
        gap_closed=none, hard_label_recovery=none, improvement_over_random=none,
    )  # fmt: skip
    return replace(report, evaluation=found, verdict=verdict(found), course=None, across=(), sites=(),
                   missing={"course": "this folder holds no history"})  # fmt: skip


def bare() -> Report:
    """An evaluation without curves and nothing else, which is quickly drawn."""
    report = report_example.alone(report_example.whole())
    return replace(report, evaluation=replace(report.evaluation, roc=(), calibration=(), decision=(), differences=()))


def bare_of(change: Callable[[Evaluation], Evaluation]) -> Report:
    report = bare()
    return replace(report, evaluation=change(report.evaluation))


def without_looks() -> Report:
    found = report_example.whole().benchmark
    assert found is not None
    lacking = replace(found, maximum_accuracy=None, maximum_step=None, cut_down=(), chosen_spread=None)
    return replace(bare(), benchmark=lacking)


@pytest.mark.parametrize(
    ("build", "reasons"),
    [
        (lambda: report_example.alone(report_example.whole()), ["this folder does not hold it"]),
        (bare, ["a difference needs the distilled arm and another one", "no class can be told from the rest"]),
        (
            lacking_a_class,
            ["class 'Viral_Pneumonia' has no image in the test split", "an interval needs at least 2 patients"],
        ),
        (of_one_arm, ["no network was trained on originals", "the arms were trained on one network only"]),
        (without_numbers, ["it cannot be estimated here"]),
        (lambda: bare_of(lambda e: replace(e, subgroups=(), untold={})), ["the evaluation looked at no subgroup"]),
        (lambda: bare_of(lambda e: replace(e, untold={"site": "no site is named"})), ["no site is named"]),
        (lambda: replace(bare(), sites=(HeldOutSite("north", None, "it is the only site"),)), ["it is the only site"]),
        (
            lambda: replace(bare(), sites=(HeldOutSite("bimcv", bare().evaluation, "", "COVID takes no part."),)),
            ["COVID takes no part.", "there it is over other classes (COVID, Lung Opacity and Normal)"],
        ),
        (
            lambda: replace(bare(), course=Course((0.5, 0.4), (0.01, 0.01), (), (), (), (), (), 0)),
            ["the run did not keep it"],
        ),
        (without_looks, ["the looks were not kept"]),
        (
            lambda: replace(bare(), missing={**bare().missing, "across": "VGG-11: the images are too small"}),
            ["VGG-11: the images are too small"],
        ),
    ],
    ids=[
        *("an evaluation alone", "no curve", "a class and patients lacking", "one arm", "no number", "no subgroup"),
        *("a trait untold", "sites untold", "a site of other classes", "no looks", "a benchmark without looks"),
        "networks failed",
    ],
)
def test_what_is_lacking_is_said_with_its_reason(build: Callable[[], Report], reasons: list[str]) -> None:
    words = read(render_html(build())).words()
    assert "not available" in words.lower()
    for reason in reasons:
        assert reason in words


def test_a_hundred_classes_are_folded_and_the_matrices_left_to_the_download() -> None:
    classes = 100
    splits = report_example.truth(0, 200, classes), report_example.truth(1, 200, classes)
    arms = [report_example.predictions(arm, splits, 2.0, classes=classes) for arm in ("raw", "distilled")]
    names = tuple(f"class {c}" for c in range(classes))
    settings = report_example.SETTINGS
    found = compare(arms, *splits, names, settings, seed=0, network="ConvNet", parameters=9)
    report = replace(report_example.alone(report_example.whole()), evaluation=found, verdict=verdict(found))
    page = render_html(report)
    reader = read(page)
    assert "too large for a page" in reader.words("confusion")
    assert "class 99" in reader.words("classes")
    assert "class 99" not in reader.words("head")
    assert page.count('class="confusion"') == 0
    assert len(page) < 4_000_000


def test_names_from_folders_are_escaped_everywhere() -> None:
    evil = '<img src=x onerror="alert(1)">'
    report = report_example.whole()

    def renamed(value: object) -> object:
        if isinstance(value, str):
            return evil if value == "COVID" else value
        if isinstance(value, dict):
            return {renamed(name): renamed(entry) for name, entry in value.items()}
        return [renamed(entry) for entry in value] if isinstance(value, list | tuple) else value

    evaluation = Evaluation.from_json(renamed(report.evaluation.as_json()))  # type: ignore[arg-type]
    page = render_html(replace(report, evaluation=evaluation), report_example.pictures())
    assert evil not in page
    assert page.count(html.escape(evil)) + page.count("&lt;img src=x") > 20
    assert evil in Reader(page).words("classes")


def test_page_is_small_quickly_written_and_always_the_same(page: str) -> None:
    report, pictures = report_example.whole(), report_example.pictures()
    start = time.process_time()
    again = render_html(report, pictures)
    assert time.process_time() - start < 3
    assert again == page
    assert len(page.encode()) < 2_000_000


def test_comparison_sets_runs_side_by_side() -> None:
    comparison = report_example.comparison()
    reader = read(render_comparison(comparison))
    words = reader.words()
    assert "2 runs side by side" in words
    for run in comparison.runs:
        assert run.name in words
        for arm in run.arms:
            assert f"{arm.macro_auc.value:.3f}" in words
    assert "covid-xray-gpu" in words
    unknown = replace(
        comparison,
        same_test=False,
        settings=(),
        differences=(),
        runs=tuple(replace(run, arms=(), ipc=None, corpus="", seconds={}) for run in comparison.runs),
    )
    assert "Not tested on the same images" in read(render_comparison(unknown)).words()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (size(0), "0 bytes"),
        (size(999), "999 bytes"),
        (size(1000), "1.0 kB"),
        (size(501_760), "502 kB"),
        (size(999_960), "1.0 MB"),
        (size(4_800_000_000), "4.8 GB"),
        (fraction(1, 57), "1/57 of"),
        (fraction(0, 57), "next to nothing of"),
        (fraction(5, 6), "0.83 times"),
        (fraction(14, 10), "1.4 times"),
    ],
)
def test_amounts_are_written_as_people_read_them(written: str, expected: str) -> None:
    assert written.replace("\u202f", " ") == expected


def test_savings_are_told_only_where_both_arms_are_there() -> None:
    (said,) = savings(report_example.whole().evaluation)
    assert "1/300 of the bytes" in said
    assert "1/9 of the images seen" in said
    assert "1/21 of the time" in said
    assert savings(report_example.evaluation(("distilled", "random"))) == ()
