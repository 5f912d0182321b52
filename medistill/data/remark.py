"""Remark: what was done to a file that was taken, or what of its header could not be followed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

TURNED = "turned"
ORIENTATION_UNUSED = "orientation not followed"
MADE_SQUARE = "pixels made square"
SPACING_UNUSED = "pixel size not followed"
LEFT_OUT = "display transform left out"
CONTRADICTED = "header contradicted"
COUNTED = {
    TURNED: "Images that were turned to the standard view, as their headers say how they lie (data.orientation)",
    ORIENTATION_UNUSED: "Images left as they are though their headers say something of how they lie that is no use",
    MADE_SQUARE: "Images whose pixels are not square, made square",
    SPACING_UNUSED: "Images left as they are though their headers say something of their pixels' size that is no use",
    LEFT_OUT: "Images whose look-up table, rescaling or window could not be applied and was left out",
    CONTRADICTED: "Images whose pixels do not lie where their header says, and were read from where they lie",
}
"""Category of a remark -> what is said of all files that have it, before their number."""


class Remark(NamedTuple):
    """One remark on a file.

    Attributes:
        category: short name, a key of `COUNTED`.
        reason: the same in words for the manifest; never a value that could identify a patient.
    """

    category: str
    reason: str


def counted_remarks(remarks: Iterable[Iterable[Remark]]) -> list[str]:
    """One sentence for each category of remark, from the remarks of each accepted image."""
    counts = Counter(category for of_image in remarks for category in {category for category, _ in of_image})
    return [
        f"{says}: {counts[category]}. The manifest names them."
        for category, says in COUNTED.items()
        if counts[category]
    ]
