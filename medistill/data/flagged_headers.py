"""Flagged headers: what a DICOM file says of itself that speaks against passing on what is made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import SecondaryCaptureImageStorage

from medistill.data.refusal import RejectedFile
from medistill.recipe import DataRecipe

Flag = Literal["burnt-in annotation", "recognisable features", "secondary capture"]
SAYS: dict[Flag, str] = {
    "burnt-in annotation": "say that text is burnt in which identifies somebody (BurnedInAnnotation is YES)",
    "recognisable features": "say that a person can be recognised in them (RecognizableVisualFeatures is YES)",
    "secondary capture": "are secondary captures, as screenshots and scanned films are",
}
"""Flag -> the same as the end of a sentence on several files."""
SETTING: dict[Flag, str] = {
    "burnt-in annotation": "data.flagged_headers",
    "recognisable features": "data.flagged_headers",
    "secondary capture": "data.secondary_captures",
}
"""Flag -> the setting that decides on it."""
AFFIRMED = ("YES", "Y", "TRUE", "T", "1")
"""What counts as YES, in upper case."""


def flags_of(header: Dataset) -> tuple[Flag, ...]:
    """What a header says, in the order of `SAYS`."""
    kind = str(header.get("SOPClassUID", ""))
    said: dict[Flag, bool] = {
        "burnt-in annotation": _yes(header, "BurnedInAnnotation"),
        "recognisable features": _yes(header, "RecognizableVisualFeatures"),
        "secondary capture": f"{kind}.".startswith(f"{SecondaryCaptureImageStorage}."),
    }
    return tuple(flag for flag, is_said in said.items() if is_said)


def screened(header: Dataset, recipe: DataRecipe) -> tuple[Flag, ...]:
    """The flags of a file that is taken in spite of them.

    Raises:
        RejectedFile: the recipe refuses a file with one of them.
    """
    flags = flags_of(header)
    policies = {"data.flagged_headers": recipe.flagged_headers, "data.secondary_captures": recipe.secondary_captures}
    for flag in flags:
        if policies[SETTING[flag]] == "refuse":
            raise RejectedFile(flag, f"files like it {SAYS[flag]} ({SETTING[flag]} is refuse)")
    return flags


def told_of(flags: Iterable[Sequence[str]]) -> list[str]:
    """A sentence for each flag of the images that were taken, for the report."""
    counts = Counter(flag for of_image in flags for flag in of_image)
    return [
        f"Images that {says}: {counts[flag]}. They were taken ({SETTING[flag]} is tell)."
        for flag, says in SAYS.items()
        if counts[flag]
    ]


def _yes(header: Dataset, keyword: str) -> bool:
    """Whether an element says YES, or one of the words that careless writers put in its place, in any of its values."""
    stated = header.get(keyword, "")
    values = stated if isinstance(stated, MultiValue) else [stated]
    return any(str(value).strip().upper() in AFFIRMED for value in values)
