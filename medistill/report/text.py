"""Text: words of a section, with what is to be told apart in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medistill.recipe.arms import ArmName
from medistill.report.kinds import Kind


@dataclass(frozen=True)
class Code:
    """Something to type."""

    text: str


@dataclass(frozen=True)
class Strong:
    """Words that stand out."""

    text: str


@dataclass(frozen=True)
class Small:
    """Words beside others, smaller."""

    text: str


@dataclass(frozen=True)
class Below:
    """Words on a line of their own in a cell, smaller; ``wraps`` where they are a sentence."""

    text: str
    wraps: bool = False


@dataclass(frozen=True)
class Unbroken:
    """Words that stay on one line."""

    text: str


@dataclass(frozen=True)
class SoftHyphen:
    """Where a long word may be broken."""


@dataclass(frozen=True)
class Link:
    """Words that lead to another section of the page."""

    text: str
    anchor: str


@dataclass(frozen=True)
class Missing:
    """In place of a figure: that it is not available; the reason, unless empty, stands among the notes of the page."""

    reason: str = ""


@dataclass(frozen=True)
class Unavailable:
    """Words that stand in place of a figure or an answer."""

    text: str = "not available"


@dataclass(frozen=True)
class Absent:
    """In place of a sentence: that something is not available, and why."""

    reason: str


@dataclass(frozen=True)
class Note:
    """A mark that leads to a reason among the notes of the page."""

    reason: str


@dataclass(frozen=True)
class Point:
    """The point of an arm in figures; an outline where it is not ``full``."""

    arm: ArmName
    full: bool = True


@dataclass(frozen=True)
class Value:
    """A value that says of itself what it is, where its column does not."""

    kind: Kind
    value: Any
    digits: int = 3


Inline = (
    str | Code | Strong | Small | Below | Unbroken | SoftHyphen | Link
    | Missing | Unavailable | Absent | Note | Point | Value
)  # fmt: skip
Text = Inline | tuple[Inline, ...]
