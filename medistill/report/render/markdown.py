"""Markdown: a page in the few lines that a pull request needs, of what its sections say in brief."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from medistill.report.arm_style import arm_name
from medistill.report.blocks import Block, Bullets, Console, Facts, Heading, Prose
from medistill.report.estimates import Form, with_interval
from medistill.report.kinds import Kind
from medistill.report.page import Page
from medistill.report.table import Cell, Column, Table
from medistill.report.text import Code, Inline, Strong, Text, Value
from medistill.report.wording import class_label, count, number, percent, seconds
from medistill.visible import visible

_SPECIAL = re.compile(r"([\\`*_\[\]#|~$])")


def escaped(text: str) -> str:
    """Text that GitHub shows as it is: no markup, no HTML, no table cell ended, nobody mentioned, nothing hidden."""
    flat = visible(" ".join(text.split()))
    safe = _SPECIAL.sub(r"\\\1", flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return safe.replace("@", "@\u2060").replace("://", ":\u2060//")


def shown_whole(page: str) -> str:
    """A page without hidden characters but for those that `escaped` puts there itself."""
    return visible(page, keep="\n\u2060")


def markdown_page(page: Page) -> str:
    """Its title, what it opens with, and what each section says in brief."""
    blocks = (*page.brief, *(block for section in page.sections for block in section.brief))
    parts = ["\n".join(_block(block)) for block in blocks]
    return shown_whole("\n\n".join((f"# {escaped(page.brief_title)}", *parts)) + "\n")


def _block(block: Block) -> Iterator[str]:
    match block:
        case Heading():
            yield f"## {_text(block.text)}"
        case Prose():
            yield _text(block.text)
        case Bullets():
            yield from (f"- {_text(item)}" for item in block.items)
        case Facts():
            yield from (f"- {term}: {_text(said)}" for term, said in block.rows)
        case Console():
            yield "```console"
            yield from (" ".join(command.split()).replace("```", "") for command in block.commands)
            yield "```"
        case Table():
            yield from _table(block)
        case _:
            raise TypeError(f"Markdown has no {type(block).__name__}")


def _table(table: Table) -> Iterator[str]:
    yield f"| {' | '.join(_text(column.heading) for column in table.columns)} |"
    yield f"|{'---|' * len(table.columns)}"
    for row in table.rows:
        cells = (_cell(column, cell) for column, cell in zip(table.columns, row, strict=True))
        yield f"| {' | '.join(cells)} |"


def _cell(column: Column, cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str) and column.kind == "arm":
        return escaped(arm_name(cell))
    if column.kind == "text" or isinstance(cell, str | tuple | Code | Strong | Value):
        return _text(cell)  # type: ignore[arg-type]
    return WRITTEN[column.kind](cell, column.digits)


def _text(text: Text) -> str:
    return "".join(map(_inline, text)) if isinstance(text, tuple) else _inline(text)


def _inline(part: Inline) -> str:
    match part:
        case str():
            before, after = part[: len(part) - len(part.lstrip())], part[len(part.rstrip()) :]
            return f"{before and ' '}{escaped(part)}{after and ' '}" if part.strip() else part and " "
        case Strong():
            return f"**{escaped(part.text)}**"
        case Code():
            return f"`{part.text.replace('`', '')}`"
        case Value():
            return WRITTEN[part.kind](part.value, part.digits)
        case _:
            raise TypeError(f"Markdown has no {type(part).__name__}")


def _estimate(form: Form) -> Callable[[Any, int], str]:
    def written(estimate: Any, digits: int) -> str:
        reason = f" ({escaped(estimate.reason)})" if estimate.value is None else ""
        return with_interval(estimate, form) + reason

    return written


WRITTEN: Mapping[Kind, Callable[[Any, int], str]] = {
    "class": lambda value, _: escaped(class_label(value)),
    "arm": lambda value, _: escaped(arm_name(value)),
    "count": lambda value, _: count(value),
    "number": number,
    "percent": percent,
    "seconds": lambda value, _: seconds(value),
    "estimate": _estimate("number"),
    "difference": _estimate("difference"),
    "share": _estimate("share"),
    "points": _estimate("points"),
}
"""Kind -> how a value of it is written, with so many digits behind the point."""
