"""Standard streams that take every word, whatever their encoding, and that may be closed or lose their reader."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata
from typing import TextIO

from medistill_cli.stderr import forsake

LENIENT = "medistill_lenient"
"""Name of the error handler that `spelt` is."""
GONE = (errno.EPIPE, errno.EIO)
"""What the system says where the reader of a pipe has ended, or a terminal has closed."""
PLAIN = {
    "\u2212": "-",
    "\u2010": "-",
    "\u2011": "-",
    "\u2013": "-",
    "\u2014": "-",
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2026": "...",
    "\u00b1": "+/-",
    "\u00d7": "x",
    "\u00b7": "-",
}
"""Signs of our own sentences -> how they are written where the encoding lacks them."""


class StandardStream(io.TextIOWrapper):
    """`sys.stdout` or `sys.stderr`; once nobody reads it, what is written goes nowhere, and the command ends as it
    would have ended, with its own exit code. A full disk is told all the same: that output is wanted."""

    descriptor = 1

    def write(self, text: str) -> int:
        """Write, or find out that nobody reads any more."""
        try:
            return super().write(text)
        except OSError as error:
            self._forsake(error)
            return len(text)

    def flush(self) -> None:
        """Flush, likewise."""
        try:
            super().flush()
        except OSError as error:
            self._forsake(error)

    def _forsake(self, error: OSError) -> None:
        if error.errno not in GONE:
            raise error
        forsake(self.descriptor)


def take_every_word() -> None:
    """Open standard streams that were closed, so that no file takes their place, and let them write every character.

    A console of Windows has UTF-8, a file or pipe there the code page; elsewhere ``LANG=C`` can give ASCII.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free, which is this one
    codecs.register_error(LENIENT, spelt)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = _standard(sys.stdout, 1)
    sys.stderr = _standard(sys.stderr, 2)


def _standard(stream: TextIO | None, descriptor: int) -> TextIO:
    """A standard stream as this program needs it; one that somebody put in its place stays as it is."""
    if stream is None:
        stream = open(descriptor, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if type(stream) is not io.TextIOWrapper:
        return stream
    encoding, lines = stream.encoding, stream.line_buffering
    taken = StandardStream(stream.detach(), encoding=encoding, errors=LENIENT, line_buffering=lines)
    taken.descriptor = descriptor
    return taken


def spelt(error: UnicodeError) -> tuple[str, int]:
    """An error handler of `codecs`: a plain sign in place of one that the encoding lacks, else the character's code."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign) or _code(sign) for sign in lacking), error.end


def _code(sign: str) -> str:
    """A space for a space, and ``\\u80ba``, which JSON takes too, for a letter."""
    if unicodedata.category(sign) == "Zs":
        return " "
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[k : k + 2].hex()}" for k in range(0, len(units), 2))
