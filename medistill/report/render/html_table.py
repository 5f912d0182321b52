"""HTML of tables."""

from __future__ import annotations

from itertools import groupby

from markupsafe import Markup

from medistill.report.render.html_text import Writer
from medistill.report.table import Cell, Column, Group, Row, Shaded, Span, Table

SCROLL = Markup('<div class="scroll" tabindex="0" role="region" aria-label="{label}">\n{inner}\n</div>\n')
"""What is wider than the page scrolls by itself, and a keyboard reaches it."""


def table_html(table: Table, writer: Writer) -> Markup:
    """A table in a region of its own."""
    attribute = Markup(' class="{}"').format(table.style) if table.style else ""
    caption = Markup("<caption>{}</caption>\n").format(writer.text(table.caption)) if table.caption else ""
    inner = Markup("<table{}>\n{}{}{}</table>").format(
        attribute, caption, _head(table, writer), Markup("").join(_body(table, group, writer) for group in table.groups)
    )
    return SCROLL.format(label=table.name, inner=inner)


def _head(table: Table, writer: Writer) -> Markup:
    columns = table.columns
    if not any(column.heading for column in columns):
        return Markup("")
    if not any(column.under for column in columns):
        return Markup("<thead><tr>{}</tr></thead>\n").format(_headings(columns, writer))
    above = Markup("").join(
        Markup('<th scope="colgroup" colspan="{}">{}</th>').format(len(members), under)
        if under
        else _headings(members, writer, ' rowspan="2"')
        for under, members in ((under, tuple(of)) for under, of in groupby(columns, lambda column: column.under))
    )
    below = _headings(tuple(column for column in columns if column.under), writer)
    return Markup("<thead><tr>{}</tr>\n<tr>{}</tr></thead>\n").format(above, below)


def _headings(columns: tuple[Column, ...], writer: Writer, more: str = "") -> Markup:
    return Markup("").join(
        Markup('<th scope="col"{}{}>{}</th>').format(
            Markup(more),  # noqa: S704  # an attribute of ours
            Markup(' class="n"') if column.right else "",
            writer.text(column.heading),
        )
        if column.heading
        else Markup("<td></td>")
        for column in columns
    )


def _body(table: Table, group: Group, writer: Writer) -> Markup:
    heading: Markup | str = ""
    if group.title:
        heading = Markup('<tr><th scope="rowgroup" colspan="{}">{}</th></tr>\n').format(
            len(table.columns), writer.text(group.title)
        )
    following = (*group.rows[1:], None)
    rows = Markup("").join(
        _row(table.columns, row, writer, remarked=after is not None and _is_remark(after), stacks=table.stacks)
        for row, after in zip(group.rows, following, strict=False)
    )
    return Markup("<tbody{}>\n{}{}</tbody>\n").format(Markup(' class="group"') if group.title else "", heading, rows)


def _is_remark(row: Row) -> bool:
    """Whether a row is one cell on the row above it."""
    return len(row) == 1 and isinstance(row[0], Span)


def _row(columns: tuple[Column, ...], row: Row, writer: Writer, *, remarked: bool, stacks: bool) -> Markup:
    opening = Markup('<tr class="told">') if remarked else Markup("<tr>")
    if _is_remark(row):
        return Markup("{}{}</tr>\n").format(opening, _cell(columns[0], row[0], writer))
    first = Markup('<th scope="row">{}</th>').format(writer.value(columns[0].kind, row[0], columns[0].digits))
    cells, place = [first], 1
    for cell in row[1:]:
        cells.append(_cell(columns[place], cell, writer, stacks=stacks))
        place += cell.width if isinstance(cell, Span) else 1
    return Markup("{}{}</tr>\n").format(opening, Markup("").join(cells))


def _cell(column: Column, cell: Cell, writer: Writer, *, stacks: bool = False) -> Markup:
    right = " n" if column.right else ""
    if isinstance(cell, Span):
        words = "small why" if cell.small else "why"
        return Markup('<td colspan="{}" class="{}">{}</td>').format(cell.width, words, writer.text(cell.text))
    if isinstance(cell, Shaded):
        classes = f"heat{right}{' right' if cell.strong else ''}"
        ground = Markup('<i style="opacity: {:.2f}" aria-hidden="true"></i>').format(cell.depth)
        return Markup('<td class="{}">{}<span>{}</span></td>').format(classes, ground, writer.text(cell.text))
    written = Markup("") if cell is None else writer.value(column.kind, cell, column.digits)
    label = Markup(' data-label="{}"').format(column.heading) if stacks and isinstance(column.heading, str) else ""
    return Markup("<td{}{}>{}</td>").format(Markup(' class="n"') if right else "", label, written)
