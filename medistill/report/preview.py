"""Preview: what was masked in patients' images, or why they were refused, for the eyes of who prepares a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medistill.data.burnt_in_text import Kind, Reading
from medistill.data.second_look import SecondLook
from medistill.report.pictures import photo_address
from medistill.report.render.html import render

KINDS: Mapping[Kind, str] = {
    "words": "letters that could be read",
    "numbers": "digits alone, such as a date",
    "unread": "what looks like a line of text and could not be read",
}
"""What was masked, for a reader."""


@dataclass(frozen=True)
class Shown:
    """A file on the page.

    Attributes:
        file: its path in the data folder.
        reason: why it was refused, or what was done; empty where it was taken as it is.
        look: its pictures; None where it has none to show.
    """

    file: str
    reason: str
    look: SecondLook | None


@dataclass(frozen=True)
class PreviewSection:
    """Files that shared a fate.

    Attributes:
        title: what became of them.
        lede: what to look for.
        found: how many there are.
        beside: what the picture beside the original is.
        shown: some of them, or all.
    """

    title: str
    lede: str
    found: int
    beside: str
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Rectangle:
    """Where a box lies on a picture, in percent of its height and width, and what it holds."""

    kind: Kind
    left: float
    top: float
    width: float
    height: float


def render_preview(sections: Sequence[PreviewSection], *, found: int, taken: int, image_size: int, text: str) -> str:
    """The page as one HTML file without scripts. It shows patients' images and says that it must not be shared.

    Args:
        sections: in their order.
        found: files in the folder.
        taken: images in the corpus.
        image_size: of these, in pixels.
        text: whether text was looked for, in words.
    """
    return render(
        "preview.html.j2",
        sections=sections,
        found=found,
        taken=taken,
        image_size=image_size,
        text=text,
        kinds=KINDS,
        address=photo_address,
        rectangles=_rectangles,
    )


def _rectangles(look: SecondLook) -> list[Rectangle]:
    return [_rectangle(find, look) for find in look.finds]


def _rectangle(find: Reading, look: SecondLook) -> Rectangle:
    box = find.box
    return Rectangle(
        find.kind,
        left=100 * box.left / look.width,
        top=100 * box.top / look.height,
        width=100 * (box.right - box.left) / look.width,
        height=100 * (box.bottom - box.top) / look.height,
    )
