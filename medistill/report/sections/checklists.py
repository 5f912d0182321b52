"""Checklists: the items of TRIPOD+AI and CLAIM with what the run knows of them."""

from __future__ import annotations

from collections.abc import Iterator

from medistill.report.blocks import Block, Downloads, Fold, Prose
from medistill.report.record import ChecklistRow
from medistill.report.section import Section
from medistill.report.table import Column, Row, table
from medistill.report.text import Absent, Small, Unavailable
from medistill.report.view import ReportView
from medistill.report.wording import counted


def section(view: ReportView) -> Section:
    """Every checklist, folded."""
    return Section(
        "checklists",
        "Reporting checklists",
        tuple(_blocks(view)),
        contents="Checklists",
        data=(
            table(
                "checklist",
                (Column("checklist"), Column("item"), Column("topic"), Column("answer"), Column("available")),
                tuple(
                    (row.checklist, row.item, row.topic, row.answer, "yes" if row.available else "no")
                    for row in view.report.checklist
                ),
                caption="Items of reporting checklists, answered where the run knows.",
            ),
        ),
    )


def _blocks(view: ReportView) -> Iterator[Block]:
    rows = view.report.checklist
    if not rows:
        yield Prose(Absent(view.missing("checklist", "no checklist was filled in")))
        return
    yield Prose(
        "Filled in as far as the run knows; an answer may cover only a part of its item, and authors complete it. “Not "
        "available” is for the authors alone."
    )
    for name in dict.fromkeys(row.checklist for row in rows):
        items = [row for row in rows if row.checklist == name]
        filled = sum(item.available for item in items)
        yield Fold(
            (f"{name} ", Small(f"{filled} of {counted(len(items), 'item')} filled in")),
            (
                table(
                    name,
                    (Column("Item"), Column("What is asked"), Column("What this run knows")),
                    tuple(_row(item) for item in items),
                    style="items",
                ),
            ),
        )
    yield Downloads(("checklist",))


def _row(item: ChecklistRow) -> Row:
    return (item.item, item.topic, item.answer if item.available else Unavailable(item.answer))
