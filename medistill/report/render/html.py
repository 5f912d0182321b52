"""HTML: a page as one file that fetches nothing and runs nothing, for screens, phones and paper."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medistill.report import wording
from medistill.report.arm_style import arm_colours
from medistill.report.notes import Notes
from medistill.report.page import Page
from medistill.report.render.html_blocks import BlockWriter
from medistill.report.render.html_text import key
from medistill.visible import visible

FILTERS = (wording.class_label, wording.count, wording.counted, wording.number, wording.percent)
"""What a template may write values with."""


def html_page(page: Page) -> str:
    """The header, then the sections, then why figures are missing, numbered in the order in which they come."""
    notes = Notes()
    writer = BlockWriter(notes)
    shown = [section for section in page.sections if section.blocks]
    header = Markup(  # noqa: S704  # what a template has escaped already
        _rendered(page.header.template, header=page.header, contents=shown, note=writer.note, key=key)
    )
    before = [writer.section(section) for section in shown if not section.behind_notes]
    behind = [writer.section(section) for section in shown if section.behind_notes]
    return render("sections.html.j2", page=page, header=header, before=before, behind=behind, notes=notes)


def render(name: str, **values: object) -> str:
    """A page of a template; blank lines are taken out, hidden characters spelt out."""
    return visible(re.sub(r"\n\s*\n+", "\n", _rendered(name, **values)), keep="\n\t")


def _rendered(name: str, **values: object) -> str:
    environment = Environment(
        loader=PackageLoader("medistill.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update({filter_.__name__: filter_ for filter_ in FILTERS})
    return environment.get_template(name).render(arm_colours=arm_colours, **values)
