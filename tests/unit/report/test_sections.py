"""What is in a report is listed once: every section file has its place, every caveat too, and anchors differ."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType

import pytest

from medistill.report import sections as package
from medistill.report.caveats import CAVEATS, caveats
from medistill.report.record import Report
from medistill.report.sections import SECTIONS, sections
from medistill.report.view import ReportView
from tests.factories import report_example


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
