"""Table: rows of values under columns that say what kind of values they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from medistill.evaluate.intervals import Estimate
from medistill.report.kinds import RIGHT, Kind
from medistill.report.text import Text


@dataclass(frozen=True)
class Span:
    """A cell over several columns."""

    width: int
    text: Text
    small: bool = False


@dataclass(frozen=True)
class Shaded:
    """A cell with a coloured ground, the deeper the larger ``depth`` between 0 and 1; ``strong`` on a diagonal."""

    depth: float
    text: Text
    strong: bool = False


Cell = Text | Span | Shaded | int | float | Estimate | tuple[float, ...] | None
"""What its column's kind says, or something that says of itself what it is. None is an empty cell."""
Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: what stands above it.
        kind: of its values.
        digits: behind the point, of the kinds number and percent.
        under: a heading that it shares with its neighbours.
        left: set flush left, though its kind is set flush right.
    """

    heading: Text
    kind: Kind = "text"
    digits: int = 3
    under: str = ""
    left: bool = False

    @property
    def right(self) -> bool:
        """Set flush right."""
        return self.kind in RIGHT and not self.left


@dataclass(frozen=True)
class Group:
    """Rows of a table under a heading of their own; without a title they have none."""

    rows: tuple[Row, ...]
    title: Text = ""


Style = Literal["", "wide", "gate", "items", "sheet", "confusion", "confusion many"]
"""Small letters for many columns; rows that have a remark; columns of sentences; many rows that stay on one sheet of
paper; shares on coloured grounds."""


@dataclass(frozen=True)
class Table:
    """Values in rows and columns. The first cell of a row is its heading.

    Attributes:
        name: of a table for reading, what it holds; of one for programs, the stem of its file.
        columns: as many as every row has cells.
        groups: of rows.
        caption: what to know of it.
        style: how it is set.
    """

    name: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    caption: Text = ""
    style: Style = ""

    @property
    def stacks(self) -> bool:
        """On a narrow screen its cells stand below each other, each with its heading."""
        return self.style in ("sheet", "gate")

    @property
    def rows(self) -> tuple[Row, ...]:
        """Those of all groups."""
        return tuple(row for group in self.groups for row in group.rows)


FIGURE = (Column("figure"), Column("value", "estimate"))
"""Columns of a table for programs: what an estimate is, and the estimate, which takes four."""


def table(name: str, columns: Sequence[Column], rows: Sequence[Row], *, caption: Text = "", style: Style = "") -> Table:
    """A table whose rows are of one group."""
    return Table(name, tuple(columns), (Group(tuple(rows)),), caption, style)


def long_rows(*columns: Iterable[float]) -> Iterator[tuple[float | None, ...]]:
    """Rows of equally long columns; a column that is empty as a whole gives empty cells."""
    values = [tuple(column) for column in columns]
    for k in range(len(values[0])):
        yield tuple(column[k] if column else None for column in values)
