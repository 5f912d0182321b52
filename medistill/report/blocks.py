"""Blocks: what a section is made of. Every renderer knows all of them, and no topic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from medistill.recipe.arms import ArmName
from medistill.report.arm_style import arm_name
from medistill.report.table import Table
from medistill.report.text import Point, Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn


@dataclass(frozen=True)
class Drawing:
    """A figure that is drawn when it is asked for.

    Attributes:
        name: letters, digits and hyphens, unlike that of any other on the page.
        draw: gives the figure, in inks of the palette.
        description: what it shows, in words and numbers, for those who cannot see it.
    """

    name: str
    draw: Callable[[], Drawn]
    description: str


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: Text
    small: bool = False


@dataclass(frozen=True)
class Heading:
    """A heading within a section; something may lead to its ``anchor``."""

    text: Text
    anchor: str = ""


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[Text, ...]


@dataclass(frozen=True)
class Facts:
    """Terms, and what is said of each."""

    rows: tuple[tuple[str, Text], ...]


@dataclass(frozen=True)
class Aside:
    """A list that nobody should overlook."""

    title: str
    items: tuple[str, ...]


@dataclass(frozen=True)
class Legend:
    """Arms or other sources with how they are drawn, as lines or as points."""

    entries: tuple[tuple[ArmName | Point, str], ...]


@dataclass(frozen=True)
class Figure:
    """A drawing, or what stands in its place, under its title.

    Attributes:
        title: what it shows.
        parts: the drawing, a legend, or a paragraph.
        text: how to read it.
    """

    title: str
    parts: tuple[Drawing | Legend | Prose, ...]
    text: Text = ""


@dataclass(frozen=True)
class Picture:
    """A small image: ``source`` is a ``data:`` address, ``alt`` what it is, ``label`` what stands below it."""

    source: str
    alt: str
    label: str = ""


@dataclass(frozen=True)
class Pictures:
    """Small images in rows."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Console:
    """Commands to type."""

    commands: tuple[str, ...]


@dataclass(frozen=True)
class Paste:
    """Paragraphs to copy as they are."""

    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Downloads:
    """Tables of this section by name; those that have no row are left out."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Attachment:
    """A text to download."""

    name: str
    text: str


@dataclass(frozen=True)
class Settings:
    """Names and values, section by section, in small letters."""

    sections: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True)
class Fold:
    """Blocks that are shown when their title is touched, and on paper."""

    title: Text
    blocks: tuple[Block, ...]


Layout = Literal["grid", "grid pair", "matrices", "sheets", "stack"]
"""Many small ones in a row; two in a row; as many as fit; two columns; below each other."""


@dataclass(frozen=True)
class Beside:
    """Blocks beside each other, as far as the page is wide enough."""

    blocks: tuple[Block, ...]
    layout: Layout = "grid pair"


Block = (
    Prose | Heading | Bullets | Facts | Aside | Legend | Figure | Table | Pictures | Console | Paste | Downloads
    | Attachment | Settings | Fold | Beside
)  # fmt: skip


def folded(title: str, block: Block, *, long: bool) -> Block:
    """The block, under a fold where it is long."""
    return Fold(title, (block,)) if long else block


def facts(*rows: tuple[str, Text | int | None]) -> Facts:
    """Terms and what is said of each; those of which nothing is said are left out."""
    return Facts(
        tuple((term, str(said) if isinstance(said, int) else said) for term, said in rows if said not in (None, ""))
    )


def arm_legend(arms: Sequence[ArmName], *, points: bool = False) -> Legend:
    """How arms are drawn, as lines or as points."""
    return Legend(tuple((Point(arm) if points else arm, arm_name(arm)) for arm in arms))
