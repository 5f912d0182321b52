"""Report page: the sections of a report under its first screen, as HTML and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from medistill.evaluate.rare import REMEDY
from medistill.report.first_screen import first_screen, opening
from medistill.report.page import Page
from medistill.report.pictures import ClassPictures
from medistill.report.record import Report
from medistill.report.render.html import html_page
from medistill.report.render.markdown import markdown_page
from medistill.report.sections import sections
from medistill.report.view import ReportView


def render_html(report: Report, distilled: Sequence[ClassPictures] = (), real: Sequence[ClassPictures] = ()) -> str:
    """Render the report with pictures of the distilled set and, only where they may be shown, of real images."""
    return html_page(report_page(ReportView(report, tuple(distilled), tuple(real))))


def markdown(report: Report) -> str:
    """The verdict, the arms, the differences, other sites and networks, what is not promised, how the run was made."""
    return markdown_page(report_page(ReportView(report)))


def report_page(view: ReportView) -> Page:
    """The sections of a report, and what stands above and below them."""
    report = view.report
    version = report.making.versions.get("medistill", "")
    return Page(
        title=f"{report.title} · medistill report",
        header=first_screen(view),
        sections=sections(view),
        footer=f"Written by medistill {version}".strip(),
        record="report.json",
        brief_title=report.verdict.heading,
        brief=tuple(opening(report)),
        remedy=f"What to do where a class has few test {view.groups}: {REMEDY}." if view.scarce else "",
    )
