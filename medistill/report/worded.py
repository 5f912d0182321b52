"""Worded: a report with all that follows from its figures in words."""

from __future__ import annotations

from dataclasses import replace

from medistill.report.caveats import caveats
from medistill.report.checklist import checklist
from medistill.report.methods_text import methods
from medistill.report.record import Report


def worded(report: Report) -> Report:
    """The report with what it does not promise, its methods text and its checklists, made anew of everything else."""
    known = replace(report, not_promised=caveats(report))  # which an item of the checklists lists
    return replace(known, methods=methods(known), checklist=checklist(known))
