"""Not promised: what a report does not say. A page shows it on its first screen; Markdown behind the figures."""

from __future__ import annotations

from medistill.report.blocks import Bullets, Heading
from medistill.report.section import Section
from medistill.report.text import Strong
from medistill.report.view import ReportView


def section(view: ReportView) -> Section:
    """Every caveat."""
    caveats = tuple((Strong(f"{of.title}."), f" {of.text}") for of in view.report.not_promised)
    return Section("not-promised", "Not promised", brief=(Heading("Not promised"), Bullets(caveats)))
