"""Sections of a report. Each file makes one of what its record says; no renderer knows any of them.

A new section is a file with ``section(view)`` and its place in `SECTIONS`; what it does not promise has its place in
`medistill.report.caveats`.
"""

from __future__ import annotations

from collections.abc import Callable

from medistill.report.record import Report
from medistill.report.section import Section
from medistill.report.sections import (
    arms,
    benchmark,
    checklists,
    classes,
    confusion,
    corpus,
    cost,
    course,
    curves,
    differences,
    ensembles,
    glossary,
    images,
    making,
    methods,
    networks,
    not_promised,
    on_one_page,
    privacy,
    quantisation,
    schedules,
    sites,
    subgroups,
)
from medistill.report.table import Table
from medistill.report.view import ReportView

SECTIONS: tuple[Callable[[ReportView], Section | None], ...] = (
    arms.section,
    differences.section,
    classes.section,
    curves.section,
    confusion.section,
    subgroups.section,
    sites.section,
    networks.section,
    ensembles.section,
    schedules.section,
    cost.section,
    benchmark.section,
    images.section,
    on_one_page.section,
    privacy.section,
    quantisation.section,
    course.section,
    corpus.section,
    methods.section,
    checklists.section,
    not_promised.section,
    making.section,
    glossary.section,
)
"""Every section, in the order of the page."""


def sections(view: ReportView) -> tuple[Section, ...]:
    """The sections of a report that have something to say."""
    return tuple(found for build in SECTIONS if (found := build(view)) is not None)


def tables(report: Report) -> dict[str, Table]:
    """Every table for programs by its name; one that would have no row is left out."""
    return {of.name: of for section in sections(ReportView(report)) for of in section.data if of.rows}
