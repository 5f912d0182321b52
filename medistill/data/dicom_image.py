"""DICOM: from a file to an upright picture whose bright pixels are bright.

`stored_values` finds the numbers, `display_transform` makes brightness of them; what else the header says is read here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from medistill.data.demographics import age_band, age_band_between, settled, sex_of
from medistill.data.dicom_file import frames_of, read_data_set
from medistill.data.dicom_view import DESCRIBING, StatedView, lateral_by, stated_view
from medistill.data.examination import examined
from medistill.data.flagged_headers import screened
from medistill.data.image import Image, check_size
from medistill.data.levels import displayed
from medistill.data.orientation import upright
from medistill.data.pixel_spacing import with_square_pixels
from medistill.data.refusal import RejectedFile
from medistill.data.stored_values import check_pixel_header, stored_values
from medistill.data.transfer_syntax import decodable_syntax
from medistill.data.view import view_of
from medistill.data.words import is_nobody
from medistill.recipe import DataRecipe

HUMAN = ("human", "homo sapiens")
ANIMAL = ("canine", "feline", "equine", "veterinar")
"""Beginnings of words that tell of an animal where no species is stated."""
NOT_OF_PATIENTS = ("AccessionNumber", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
"""Numbers of an image or of a study, which some exports write into the PatientID too."""
TELLING = (
    "AcquisitionDeviceProcessingDescription",
    "InstitutionName",
    "ProtocolName",
    "SeriesDescription",
    "StudyDescription",
)


def read_dicom(path: Path, recipe: DataRecipe) -> Image:
    """Read a DICOM file.

    Raises:
        RejectedFile: it holds no single displayable radiograph of a person, or it cannot be decoded.
    """
    header = _header(path)
    syntax = _check_header(header)
    check_size(int(header.Rows), int(header.Columns))
    told = examined(header, recipe)
    view = stated_view(header)
    _check_view(view, recipe)
    flags = (*told, *screened(header, recipe))
    stored = stored_values(header, syntax)
    pixels, padding, deep, left_out = displayed(stored, header, recipe)
    image = Image(
        pixels=pixels,
        deep=deep,
        padding=padding,
        view=view.words,
        view_by=view.by,
        patient=_patient(header),
        study=_one_way("study", _text(header, "StudyInstanceUID")),
        sex=sex_of(_text(header, "PatientSex")),
        age=_age(header),
        synthetic=str(header.get("SyntheticData", "")).upper() == "YES",
        flags=flags,
        states_view=True,
        remarks=stored.remarks + left_out,
    )
    return upright(with_square_pixels(image, header), header, recipe)


def _header(path: Path) -> Dataset:
    try:
        with path.open("rb") as file:
            header = read_data_set(file)
    except InvalidDicomError:
        try:
            with path.open("rb") as file:
                header = read_data_set(file, force=True)
        except (RejectedFile, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever a parser makes of a file that is not its own
            raise RejectedFile("not an image", f"it is not a DICOM file ({type(error).__name__})") from None
        if "Rows" not in header and "PatientID" not in header and "SOPClassUID" not in header:
            raise RejectedFile("not an image", "it is named like a DICOM file, but holds something else") from None
    except (RejectedFile, MemoryError):
        raise
    except Exception:  # noqa: BLE001  # pydicom raises many kinds; its words may quote the header
        raise RejectedFile("unreadable", "its header is damaged, or ends too early") from None
    return header


def _check_header(header: Dataset) -> UID:
    """Refuse what no pixel needs to be decoded for; the transfer syntax of the others."""
    if "PixelData" not in header:
        if "Rows" in header and "TransferSyntaxUID" in getattr(header, "file_meta", {}):
            decodable_syntax(header)  # a coding that leaves the pixels elsewhere is named
        kind = "it holds no pixels" if "Rows" not in header else "its pixels are missing"
        raise RejectedFile("no pixels", f"{kind} (no PixelData element)")
    syntax = decodable_syntax(header)
    check_pixel_header(header)
    frames_of(header)
    if str(header.get("PresentationIntentType", "")).upper() == "FOR PROCESSING":
        raise RejectedFile("for processing", "it is raw detector data (FOR PROCESSING), not meant to be looked at")
    species = str(header.get("PatientSpeciesDescription", "")).strip().lower()
    told = " ".join(str(header.get(name, "")).lower() for name in TELLING)
    if species not in (*HUMAN, "") or (not species and any(word in told for word in ANIMAL)):
        raise RejectedFile("not human", "its header tells of an animal")
    return syntax


def _check_view(view: StatedView, recipe: DataRecipe) -> None:
    """Refuse what is surely lateral; a table may know better than what describes a study, or where nothing does."""
    if recipe.view_policy == "reject" and view_of(view.words) == "lateral" and view.by not in DESCRIBING:
        raise RejectedFile("lateral view", lateral_by(view.by))


def _patient(header: Dataset) -> str:
    """A one-way hash of the patient's identifier; empty where there is none, or where it stands for nobody."""
    patient, issuer = _text(header, "PatientID"), _text(header, "IssuerOfPatientID")
    of_the_image = {_text(header, name) for name in NOT_OF_PATIENTS}
    if is_nobody(patient) or patient in of_the_image:
        return ""
    return _one_way("patient", patient, issuer)


def _one_way(what: str, identifier: str, *more: str) -> str:
    """SHA-256 of an identifier, empty where there is none; it never leaves the reading."""
    return hashlib.sha256(repr((what, identifier, *more)).encode()).hexdigest() if identifier else ""


def _age(header: Dataset) -> str | None:
    """Band of the patient's age: as stated, else from the dates of birth and of the study, which are not kept."""
    between = age_band_between(_text(header, "PatientBirthDate"), _text(header, "StudyDate"))
    return settled(age_band(_text(header, "PatientAge")), between)


def _text(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword, "") or "").strip()
