"""What is in a report is listed once: every section file has its place, every caveat too, and anchors differ."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from medistill.artifacts.atomic import write_json
from medistill.errors import ArtifactError
from medistill.recipe import load_recipe
from medistill.report import sections as package
from medistill.report.blocks import Prose
from medistill.report.caveats import CAVEATS, caveats
from medistill.report.record import Report
from medistill.report.sections import SECTIONS, course, sections
from medistill.report.view import ReportView
from medistill.workflow.report import read_report
from tests.factories import report_example, reported_run


def modules() -> list[ModuleType]:
    return [importlib.import_module(f"{package.__name__}.{of.name}") for of in pkgutil.iter_modules(package.__path__)]


def test_every_file_has_its_place_on_the_page() -> None:
    assert {of.section for of in modules()} == set(SECTIONS)
    assert len(set(SECTIONS)) == len(SECTIONS)


def test_every_caveat_that_a_section_knows_has_its_place() -> None:
    known = {
        of
        for module in modules()
        for _, of in inspect.getmembers(module, inspect.isfunction)
        if of.__module__ == module.__name__ and of.__annotations__.get("return") == "Iterator[Caveat]"
    }
    assert known == set(CAVEATS)
    assert len(set(CAVEATS)) == len(CAVEATS)


@pytest.mark.parametrize("build", [report_example.whole, report_example.quantised])
def test_no_two_sections_share_an_anchor_and_no_two_tables_a_name(build: Callable[[], Report]) -> None:
    found = sections(ReportView(build()))
    assert len({of.anchor for of in found}) == len(found)
    names = [table.name for of in found for table in of.data]
    assert len(set(names)) == len(names)


def test_what_is_not_promised_does_not_depend_on_what_was_said_before() -> None:
    report = report_example.whole()
    assert caveats(report) == report.not_promised


@pytest.mark.parametrize(
    ("skipped", "said"),
    [
        ((), "changed in 400 outer steps. Now"),
        ((7,), "changed in 399 outer steps; 1 outer step was skipped since a student left the finite numbers. Now"),
        ((7, 9), "changed in 398 outer steps; 2 outer steps were skipped since a student left the finite numbers. Now"),
    ],
)
def test_skipped_steps_are_told(skipped: tuple[int, ...], said: str) -> None:
    whole = report_example.whole()
    assert whole.course is not None
    told = course.section(ReportView(replace(whole, course=replace(whole.course, skipped=skipped))))
    lede = next(block for block in told.blocks if isinstance(block, Prose))
    assert said in str(lede.text).replace("\u00a0", " ")


def test_skipped_steps_are_read_from_the_history(tmp_path: Path) -> None:
    recipe = load_recipe("demo", ["evaluate.bootstrap=100", "evaluate.networks=3"])
    run = reported_run.whole_run(tmp_path / "run", recipe, tmp_path / "cache")
    history = json.loads((run / "history.json").read_text())
    write_json(run / "history.json", {**history, "skipped": [3, 30]})
    report = read_report(run)
    assert report.course is not None
    assert report.course.skipped == (3, 30)
    write_json(run / "history.json", {**history, "skipped": [31]})
    with pytest.raises(ArtifactError, match="skipped steps that are none of its own"):
        read_report(run)
