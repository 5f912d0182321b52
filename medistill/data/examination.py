"""Examination: whether DICOM says that a file is something else than a radiograph of the chest.

A header that says nothing of it proves nothing: such a file is taken, and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from pydicom import Dataset
from pydicom.uid import UID, SecondaryCaptureImageStorage

from medistill.data.body_part import told_part
from medistill.data.dicom_view import DESCRIBING
from medistill.data.phrases import joined_words
from medistill.data.refusal import RejectedFile
from medistill.recipe import DataRecipe

Finding = Literal["not a radiograph", "other body part", "body part not stated"]
SAYS: dict[Finding, str] = {
    "not a radiograph": "Images that DICOM says are no radiographs: {}. They were taken (data.not_chest is tell).",
    "other body part": (
        "Images that DICOM says show another part of the body than the chest: {}. They were taken (data.not_chest is "
        "tell)."
    ),
    "body part not stated": "DICOM images that do not say which part of the body they show: {}. They were taken.",
}
"""What was found of images that were taken -> the note on their number."""
RADIOGRAPHS = ("CR", "DX", "RG", "DR")
"""Modalities of radiographs; DR is none of the standard's, and much used."""
OTHERS = (
    "AR", "BI", "BMD", "CD", "CFM", "CP", "CS", "CT", "DD", "DF", "DG", "DMS", "DS", "EC", "ECG", "EPS", "ES", "FA",
    "FS", "GM", "IO", "IVOCT", "IVUS", "KER", "LEN", "LP", "LS", "MA", "MG", "MR", "MS", "NM", "OAM", "OCT", "OP",
    "OPM", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "PA", "PT", "PX", "RF", "RTDOSE", "RTIMAGE", "SM", "SMR", "ST",
    "TG", "US", "VA", "VF", "XA", "XC",
)  # fmt: skip
"""Modalities of other images, those of earlier editions of the standard with them."""
RADIOGRAPHIC = (
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1.1",
    "1.2.840.10008.5.1.1.29",
    "1.2.840.10008.5.1.1.30",
)
"""SOP classes of computed and of digital radiography, and of hard copies, which may show anything."""
_OTHER_MACHINE = re.compile(
    r"(?<!\S)(?:CT|CAT|TAC|TDM|CTA|HRCT|MR|MRI|MRT|MRA|IRM|RMN?|PET|SPECT|US|ULTRASOUND|ULTRASCHALL|"
    r"SONO\w*|ECHO\w*|ECO\w*|TOMOGRA\w*|COMPUTERTOMOGRA\w*|COMPUTED TOMOGRAPHY|ANGIO\w*|MAMMO\w*|SZINTI\w*|SCINTI\w*|"
    r"FLUORO\w*|DURCHLEUCHTUNG|ENDOSCOP\w*|ENDOSKOP\w*)(?!\S)"
)
"""Words for other machines; they are heeded where the modality is not that of a radiograph."""


class Objection(NamedTuple):
    """What DICOM says against a file: what is found, and why, in a sentence without a word of the header."""

    finding: Finding
    why: str


def examined(header: Dataset, recipe: DataRecipe) -> tuple[Finding, ...]:
    """What has to be told of a file that is taken.

    Raises:
        RejectedFile: DICOM says that it is no radiograph of the chest, and the recipe refuses such files.
    """
    objection = objection_to(header)
    if objection is not None and recipe.not_chest == "refuse":
        raise RejectedFile(objection.finding, f"{objection.why} (data.not_chest is refuse)")
    if objection is not None:
        return (objection.finding,)
    return ("body part not stated",) if told_part(header).part == "not stated" else ()


def objection_to(header: Dataset) -> Objection | None:
    """What speaks against taking a file for a radiograph of the chest; None where nothing does."""
    why = _other_machine(header)
    if why:
        return Objection("not a radiograph", why)
    told = told_part(header)
    if told.part == "other":
        part = f"another part of the body than the chest{f' ({told.name})' if told.name else ''}"
        return Objection("other body part", f"its {told.by} says {part}")
    return None


def told_of_examinations(found: Iterable[Sequence[str]]) -> list[str]:
    """A sentence for each finding on the images that were taken, for the report."""
    counts = Counter(one for of_image in found for one in of_image)
    return [text.format(counts[finding]) for finding, text in SAYS.items() if counts[finding]]


def _other_machine(header: Dataset) -> str:
    """Why a file is no radiograph, as far as its header says; else empty."""
    modality = str(header.get("Modality", "") or "").strip().upper()
    if modality in OTHERS:
        return f"its Modality is {modality}, which is none of radiographs"
    kind = UID(str(header.get("SOPClassUID", "") or ""))
    capture = f"{kind}.".startswith(f"{SecondaryCaptureImageStorage}.")
    if kind not in RADIOGRAPHIC and not capture and kind.type == "SOP Class":
        return f"its SOPClassUID is that of {kind.name}, which is none of radiographs"
    if modality in RADIOGRAPHS:
        return ""
    for keyword in DESCRIBING:
        if _OTHER_MACHINE.search(joined_words(str(header.get(keyword, "") or ""))):
            return f"its Modality is not that of a radiograph, and its {keyword} names another machine"
    if modality and told_part(header).part != "chest":
        return "its Modality is not that of a radiograph, and nothing in its header says that it shows a chest"
    return ""
