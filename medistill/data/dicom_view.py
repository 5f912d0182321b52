"""DICOM view: which element of a header says which way a radiograph was taken.

ViewPosition is left empty by many machines; then the code of the view and what describes series and study may say it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydicom import Dataset
from pydicom.sequence import Sequence

from medistill.data.view import described_view, states_view, view_of, view_words

DESCRIBING = (
    "SeriesDescription",
    "AcquisitionDeviceProcessingDescription",
    "ProtocolName",
    "PerformedProcedureStepDescription",
    "RequestedProcedureDescription",
    "StudyDescription",
)
"""Elements in the words of a hospital, those on one image first."""
VIEW_CODES = {
    **dict.fromkeys(("272479007", "R-10214", "R-40888"), "PA"),
    **dict.fromkeys(("399348003", "R-10206"), "AP"),
    **dict.fromkeys(("399033003", "R-10202"), "FRONTAL"),
    **dict.fromkeys(("399067008", "R-102CD"), "LATERAL"),
    **dict.fromkeys(("399173006", "R-10236"), "LL"),
    **dict.fromkeys(("399198007", "R-10232"), "RL"),
    **dict.fromkeys(("399182000", "R-102C1"), "OBLIQUE"),
    **dict.fromkeys(("399135007", "R-10220"), "LAO"),
    **dict.fromkeys(("399356000", "R-40985"), "RAO"),
    **dict.fromkeys(("399006002", "R-10212"), "LPO"),
    **dict.fromkeys(("399038007", "R-10210"), "RPO"),
}
"""Code of SNOMED CT, or of SNOMED RT before it, of CID 4010 -> the view; CodeMeaning may be in any language."""


class StatedView(NamedTuple):
    """The view in words of our own, as `view_words` has it, and the keyword of the element that says it; both may be
    empty."""

    words: str = ""
    by: str = ""


def stated_view(header: Dataset) -> StatedView:
    """What a header says of its view.

    The first element that says a view decides. One that is there to state the view, and states what is not known, is
    not overruled by a description.
    """
    stated = list(_statements(header))
    for keyword, text in stated:
        if view_of(text) != "unknown":
            return StatedView(view_words(text), keyword)
    if any(states_view(text) for _, text in stated):
        return StatedView()
    for keyword in DESCRIBING:
        words = described_view(str(header.get(keyword, "") or ""))
        if words:
            return StatedView(words, keyword)
    return StatedView()


def lateral_by(keyword: str) -> str:
    """Why a file is refused whose view is lateral by an element of its header."""
    return f"its {keyword} says that its view is lateral or oblique (data.view_policy is reject)"


def items_of(header: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where the element is missing, or is no sequence."""
    stated = header.get(keyword)
    return list(stated) if isinstance(stated, Sequence) else []


def _statements(header: Dataset) -> Iterator[tuple[str, str]]:
    """Keyword and text of each element that is there to state the view."""
    yield "ViewPosition", str(header.get("ViewPosition", "") or "")
    for item in items_of(header, "ViewCodeSequence")[:1]:
        code = str(item.get("CodeValue", "") or "").strip()
        yield "ViewCodeSequence", VIEW_CODES.get(code) or str(item.get("CodeMeaning", "") or "")
