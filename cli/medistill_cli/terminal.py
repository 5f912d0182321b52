"""What reaches the terminal: words that others chose are shown with their hidden characters spelt out."""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING

from medistill.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

LINES = "\n\t"
"""Hidden characters that a paragraph of ours has."""
PLAIN_WIDTH = 110
"""Columns of a table where stdout is no terminal."""


def write_error(text: str) -> None:
    """Write lines to stderr."""
    sys.stderr.write(f"{visible(text, keep=LINES)}\n")
    sys.stderr.flush()


def write(text: str) -> None:
    """Write lines to stdout."""
    sys.stdout.write(f"{visible(text, keep=LINES)}\n")


def out_console() -> Console:
    """Rich on stdout."""
    from medistill_cli.plain_words import PlainWords

    terminal = sys.stdout.isatty()
    return PlainWords(soft_wrap=not terminal, width=None if terminal else PLAIN_WIDTH)


def error_console(stream: IO[str] | None = None) -> Console:
    """Rich on stderr, or on a stream in its place."""
    from medistill_cli.plain_words import PlainWords

    return PlainWords(stderr=True) if stream is None else PlainWords(file=stream)
