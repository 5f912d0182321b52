"""Section: a part of a page, made of a record, and the page that sections are parts of."""

from __future__ import annotations

from dataclasses import dataclass

from medistill.report.blocks import Block
from medistill.report.table import Table


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        anchor: what leads to it.
        title: its heading.
        blocks: prose, tables and figures in their order.
        contents: how the list of contents calls it; empty where it is not listed.
        data: tables for programs, every number with every digit; one without rows is left out.
        brief: what Markdown says of it, for a pull request; it says nothing else.
        behind_notes: a page has it behind the notes.
    """

    anchor: str
    title: str
    blocks: tuple[Block, ...] = ()
    contents: str = ""
    data: tuple[Table, ...] = ()
    brief: tuple[Block, ...] = ()
    behind_notes: bool = False
