"""HTML of blocks: a function for every kind of block."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from markupsafe import Markup

from medistill.report.blocks import (
    Aside,
    Attachment,
    Beside,
    Block,
    Bullets,
    Console,
    Downloads,
    Drawing,
    Facts,
    Figure,
    Fold,
    Heading,
    Legend,
    Paste,
    Pictures,
    Prose,
    Settings,
)
from medistill.report.notes import Notes
from medistill.report.render.csv import csv_text
from medistill.report.render.html_table import table_html
from medistill.report.render.html_text import Writer, key, point
from medistill.report.section import Section
from medistill.report.svg import inline_svg
from medistill.report.table import Table
from medistill.report.text import Point

LARGEST_DOWNLOAD = 250_000
"""Bytes of a table from which it is left to ``report.json``, so that the page stays small."""


class BlockWriter(Writer):
    """Writes the blocks of a page, section by section.

    Args:
        notes: of the page so far.
    """

    def __init__(self, notes: Notes) -> None:
        super().__init__(notes)
        self.data: Mapping[str, Table] = {}

    def section(self, section: Section) -> Markup:
        """A section with its heading."""
        self.data = {table.name: table for table in section.data if table.rows}
        return Markup('<section id="{0}" aria-labelledby="h-{0}">\n<h2 id="h-{0}">{1}</h2>\n{2}</section>\n').format(
            section.anchor, section.title, self.blocks(section.blocks)
        )

    def blocks(self, blocks: Iterable[Block]) -> Markup:
        """Blocks in their order."""
        return Markup("").join(BLOCKS[type(block)](self, block) for block in blocks)


def _prose(writer: BlockWriter, block: Prose) -> Markup:
    return Markup("<p{}>{}</p>\n").format(Markup(' class="small"') if block.small else "", writer.text(block.text))


def _heading(writer: BlockWriter, block: Heading) -> Markup:
    anchor = Markup(' id="{}"').format(block.anchor) if block.anchor else ""
    return Markup("<h3{}>{}</h3>\n").format(anchor, writer.text(block.text))


def _bullets(writer: BlockWriter, block: Bullets) -> Markup:
    return Markup("<ul>\n{}</ul>\n").format(_each("<li>{}</li>\n", map(writer.text, block.items)))


def _facts(writer: BlockWriter, block: Facts) -> Markup:
    rows = (Markup("<dt>{}</dt><dd>{}</dd>\n").format(term, writer.text(said)) for term, said in block.rows)
    return Markup('<dl class="facts">\n{}</dl>\n').format(Markup("").join(rows))


def _aside(writer: BlockWriter, block: Aside) -> Markup:
    return Markup('<div class="aside"><h3>{}</h3><ul>{}</ul></div>\n').format(
        block.title, _each("<li>{}</li>", block.items)
    )


def _legend(writer: BlockWriter, block: Legend) -> Markup:
    entries = (
        Markup("<li>{}{}</li>").format(point(of) if isinstance(of, Point) else key(of), name)
        for of, name in block.entries
    )
    return Markup('<ul class="legend">{}</ul>\n').format(Markup("").join(entries))


def _drawing(writer: BlockWriter, block: Drawing) -> Markup:
    return Markup(inline_svg(block.draw(), block.name, block.description))  # noqa: S704


def _figure(writer: BlockWriter, block: Figure) -> Markup:
    text = Markup("<span>{}</span>").format(writer.text(block.text)) if block.text else ""
    parts = Markup("").join(BLOCKS[type(part)](writer, part) for part in block.parts)
    return Markup("<figure><figcaption><b>{}</b>{}</figcaption>{}</figure>\n").format(block.title, text, parts)


def _table(writer: BlockWriter, block: Table) -> Markup:
    return table_html(block, writer)


def _pictures(writer: BlockWriter, block: Pictures) -> Markup:
    shown = (
        Markup('<li><img src="{}" alt="{}">{}</li>\n').format(
            of.source, of.alt, Markup("<span>{}</span>").format(of.label) if of.label else ""
        )
        for of in block.pictures
    )
    return Markup('<ul class="strip">\n{}</ul>\n').format(Markup("").join(shown))


def _console(writer: BlockWriter, block: Console) -> Markup:
    return Markup("<pre>{}</pre>\n").format("\n".join(block.commands))


def _paste(writer: BlockWriter, block: Paste) -> Markup:
    return Markup('<div class="paste">\n{}</div>\n').format(_each("<p>{}</p>\n", block.paragraphs))


def _downloads(writer: BlockWriter, block: Downloads) -> Markup:
    links = [_download(writer.data[name]) for name in block.names if name in writer.data]
    return Markup('<p class="take">Download {}</p>\n').format(Markup(", ").join(links)) if links else Markup("")


def _download(table: Table) -> Markup:
    """The CSV begins with a byte order mark, without which Excel takes UTF-8 for something else."""
    text = f"\ufeff{csv_text(table)}"
    if len(text) > LARGEST_DOWNLOAD:
        return Markup("{} (too long for this page; in report.json)").format(table.name)
    return _link(f"{table.name}.csv", "text/csv", text)


def _attachment(writer: BlockWriter, block: Attachment) -> Markup:
    return Markup('<p class="take">Download {}</p>\n').format(_link(block.name, "text/plain", block.text))


def _link(name: str, kind: str, text: str) -> Markup:
    address = f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"
    return Markup('<a download="{}" href="{}">{}</a>').format(name, address, name)


def _settings(writer: BlockWriter, block: Settings) -> Markup:
    sections = (
        Markup("<section><h3>{}</h3><dl>{}</dl></section>\n").format(
            name, Markup("").join(Markup("<dt>{}</dt><dd>{}</dd>").format(*row) for row in rows)
        )
        for name, rows in block.sections
    )
    return Markup('<div class="settings">\n{}</div>\n').format(Markup("").join(sections))


def _fold(writer: BlockWriter, block: Fold) -> Markup:
    title = writer.text(block.title)
    return Markup("<details><summary>{}</summary>\n{}</details>\n").format(title, writer.blocks(block.blocks))


def _beside(writer: BlockWriter, block: Beside) -> Markup:
    return Markup('<div class="{}">\n{}</div>\n').format(block.layout, writer.blocks(block.blocks))


def _each(template: str, items: Iterable[Any]) -> Markup:
    return Markup("").join(Markup(template).format(item) for item in items)  # noqa: S704  # templates stand above


BLOCKS: Mapping[type, Callable[[BlockWriter, Any], Markup]] = {
    Prose: _prose,
    Heading: _heading,
    Bullets: _bullets,
    Facts: _facts,
    Aside: _aside,
    Legend: _legend,
    Drawing: _drawing,
    Figure: _figure,
    Table: _table,
    Pictures: _pictures,
    Console: _console,
    Paste: _paste,
    Downloads: _downloads,
    Attachment: _attachment,
    Settings: _settings,
    Fold: _fold,
    Beside: _beside,
}
"""Kind of block -> how it is written."""
