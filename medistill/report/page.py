"""Page: sections under a header, as HTML and, in the few lines that a pull request needs, as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from medistill.report.blocks import Block
from medistill.report.section import Section


class Header(Protocol):
    """What stands above the sections; it names the template that shows it."""

    @property
    def template(self) -> str:
        """File of the template, which finds the header under that name."""


@dataclass(frozen=True)
class Callout:
    """A result in a few words, and what it means.

    Attributes:
        standing: a class of the style sheet, which colours it.
        word: the few words.
        text: what they mean.
    """

    standing: str
    word: str
    text: str


@dataclass(frozen=True)
class Masthead:
    """A plain header.

    Attributes:
        kicker: what kind of page it is.
        heading: its one first heading.
        lede: what it is about.
        callout: the result, where there is one.
        facts: what the page is of, a term and what it is each.
    """

    template: ClassVar[str] = "masthead.j2"
    kicker: str
    heading: str
    lede: str
    callout: Callout | None = None
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: of the window.
        header: above the sections.
        sections: in their order.
        footer: who wrote it.
        record: the file beside it that holds the same for programs.
        brief_title: first heading of the Markdown.
        brief: what Markdown opens with.
        remedy: what to do where figures are missing; empty where nothing helps.
    """

    title: str
    header: Header
    sections: tuple[Section, ...]
    footer: str
    record: str
    brief_title: str
    brief: tuple[Block, ...] = ()
    remedy: str = ""
