"""PlainWords: Rich's console, in which no word is taken for markup or sent to the terminal as a command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.segment import Segment

from medistill.visible import visible

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType


class PlainWords(Console):
    """A console whose every segment of text is cleaned, whatever it was drawn from; Rich's own control codes pass."""

    def __init__(
        self,
        *,
        stderr: bool = False,
        file: IO[str] | None = None,
        soft_wrap: bool = False,
        width: int | None = None,
    ) -> None:
        super().__init__(
            stderr=stderr, file=file, soft_wrap=soft_wrap, width=width, markup=False, highlight=False, emoji=False
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Rich's segments of what is to be drawn, without hidden characters."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text, keep="\n"), segment.style)
