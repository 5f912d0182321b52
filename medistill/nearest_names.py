"""Nearest names: what somebody may have meant who wrote a name that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

MOST = 2
"""Names that are proposed at most."""


def nearest_names(seen: object, names: Iterable[str]) -> list[str]:
    """The names that are written most like what was seen, the nearest first; case, ``_`` and ``-`` count for nothing.

    Gestalt matching (Ratcliff and Metzener 1988), as `difflib` has it, with its own threshold.
    """
    spelt: dict[str, str] = {}
    for name in names:
        spelt.setdefault(_letters(name), name)
    return [spelt[near] for near in difflib.get_close_matches(_letters(str(seen)), list(spelt), n=MOST)]


def did_you_mean(seen: object, names: Iterable[str]) -> str:
    """``: did you mean 'ddoq'?``, to stand behind what was seen in a message; empty where no name is like it."""
    return proposed(nearest_names(seen, names))


def proposed(near: Sequence[str]) -> str:
    """The same of names that were found in another way."""
    return f": did you mean {' or '.join(map(repr, near[:MOST]))}?" if near else ""


def _letters(name: str) -> str:
    return name.casefold().replace("_", "-")
