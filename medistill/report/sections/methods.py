"""Methods: the text for a paper."""

from __future__ import annotations

from medistill.report.blocks import Attachment, Block, Paste, Prose
from medistill.report.section import Section
from medistill.report.text import Absent
from medistill.report.view import ReportView


def section(view: ReportView) -> Section:
    """The paragraphs, to copy."""
    return Section("methods", "Methods, ready to paste", _blocks(view), contents="Methods")


def _blocks(view: ReportView) -> tuple[Block, ...]:
    paragraphs = view.report.methods
    if not paragraphs:
        return (Prose(Absent(view.missing("methods", "the run does not say enough to describe itself"))),)
    return (
        Prose(
            "Text for the methods section of a paper. A click selects it all. What stands in brackets is for the "
            "authors to fill in."
        ),
        Paste(paragraphs),
        Attachment("methods.txt", "\n\n".join(paragraphs) + "\n"),
    )
