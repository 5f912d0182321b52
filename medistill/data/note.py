"""Note: what was done to a file that was taken, where it is not what its header asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

LEFT_OUT = "display transform left out"
CONTRADICTED = "header contradicted"
SAYS = {
    LEFT_OUT: "whose look-up table, rescaling or window could not be applied and was left out",
    CONTRADICTED: "whose pixels do not lie where their header says, and were read from where they lie",
}
"""Category -> the same as the end of a sentence on several files."""


class Note(NamedTuple):
    """What the manifest says of a file that was taken.

    Attributes:
        category: a key of `SAYS`.
        reason: the same in a sentence; never a value that could identify a patient.
    """

    category: str
    reason: str


def noted(notes: Iterable[Sequence[Note]]) -> list[str]:
    """A sentence for each category of the images that were taken, for the report."""
    counts = Counter(category for of_image in notes for category in {note.category for note in of_image})
    return [
        f"Images {says}: {counts[category]}. The manifest names them, with the reason."
        for category, says in SAYS.items()
        if counts[category]
    ]
