"""DICOM: from a file to an upright picture whose bright pixels are bright.

The order is the standard's: stored values, modality LUT, padding, VOI LUT or window, and one inversion.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing, get_decoder
from pydicom.uid import UID, JPEGExtended12Bit, RLELossless

from medistill.data.codestream import coded_size
from medistill.data.demographics import age_band, age_band_between, settled, sex_of
from medistill.data.dicom_file import frames_of, read_data_set
from medistill.data.flagged_headers import screened
from medistill.data.image import Image, check_size
from medistill.data.orientation import upright
from medistill.data.pixel_spacing import with_square_pixels
from medistill.data.refusal import Refused
from medistill.data.view import view_of
from medistill.recipe import DataRecipe

HUMAN = ("human", "homo sapiens")
ANIMAL = ("canine", "feline", "equine", "veterinar")
"""Beginnings of words that tell of an animal where no species is stated."""
NOBODY = (
    "", "ANON", "ANONYM", "ANONYMISED", "ANONYMIZED", "ANONYMOUS", "DEIDENTIFIED", "DELETED", "EMPTY", "HIDDEN", "NA",
    "NAN", "NIL", "NOID", "NONE", "NOTKNOWN", "NULL", "PATIENT", "PATIENTID", "REDACTED", "REMOVED", "UNDEFINED",
    "UNKNOWN",
)  # fmt: skip
"""What stands in a PatientID, without its signs, where there is none."""
NOT_OF_PATIENTS = ("AccessionNumber", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
"""Numbers of an image or of a study, which some exports write into the PatientID too."""
RLE_HEADER = 64 + 15
"""Bytes of an RLE frame beside its coded bytes: its header, and one to make each of 15 segments even (PS3.5, G.4)."""
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
        Refused: it holds no single displayable radiograph of a person, or it cannot be decoded.
    """
    header = _header(path)
    _check_header(header)
    check_size(int(header.Rows), int(header.Columns))
    _check_view(header, recipe)
    flags = screened(header, recipe)
    stored = _stored_values(header)
    pixels, deep = _display_values(stored, header, recipe)
    image = Image(
        pixels=pixels,
        deep=deep,
        padding=_padding(stored, header),
        view=_stated_view(header),
        patient=_patient(header),
        study=_one_way("study", _text(header, "StudyInstanceUID")),
        sex=sex_of(_text(header, "PatientSex")),
        age=_age(header),
        synthetic=str(header.get("SyntheticData", "")).upper() == "YES",
        flags=flags,
        states_view=True,
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
        except (Refused, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever a parser makes of a file that is not its own
            raise Refused("not an image", f"it is not a DICOM file ({type(error).__name__})") from None
        if "Rows" not in header and "PatientID" not in header and "SOPClassUID" not in header:
            raise Refused("not an image", "it is named like a DICOM file, but holds something else") from None
    except (Refused, MemoryError):
        raise
    except Exception:  # noqa: BLE001  # pydicom raises many kinds; its words may quote the header
        raise Refused("unreadable", "its header is damaged, or ends too early") from None
    return header


def _check_header(header: Dataset) -> None:
    """Refuse what no pixel needs to be decoded for."""
    if "PixelData" not in header:
        kind = "it holds no pixels" if "Rows" not in header else "its pixels are missing"
        raise Refused("no pixels", f"{kind} (no PixelData element)")
    if "TransferSyntaxUID" not in getattr(header, "file_meta", {}):
        raise Refused("no transfer syntax", "it does not say how its pixels are coded (no file meta information)")
    missing = [name for name in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation") if name not in header]
    if missing:
        raise Refused("unreadable", f"its header lacks {', '.join(missing)}")
    frames_of(header)
    if str(header.get("PresentationIntentType", "")).upper() == "FOR PROCESSING":
        raise Refused("for processing", "it is raw detector data (FOR PROCESSING), not meant to be looked at")
    species = str(header.get("PatientSpeciesDescription", "")).strip().lower()
    told = " ".join(str(header.get(name, "")).lower() for name in TELLING)
    if species not in (*HUMAN, "") or (not species and any(word in told for word in ANIMAL)):
        raise Refused("not human", "its header tells of an animal")


def _check_view(header: Dataset, recipe: DataRecipe) -> None:
    """Refuse what is surely lateral; a view that is not stated here may be stated by a table."""
    if recipe.view_policy == "reject" and view_of(_stated_view(header)) == "lateral":
        raise Refused("lateral view", "its view is lateral or oblique (data.view_policy is reject)")


def _stated_view(header: Dataset) -> str:
    stated = _text(header, "ViewPosition")
    if stated:
        return stated
    codes = list(header.get("ViewCodeSequence") or ())
    return str(codes[0].get("CodeMeaning", "")).strip() if codes else ""


def _stored_values(header: Dataset) -> np.ndarray:
    """Stored values (H, W) or (H, W, 3)."""
    syntax: UID = header.file_meta.TransferSyntaxUID
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise Refused("unknown coding", "its transfer syntax is not one of the standard's")
    if syntax.is_compressed and syntax.is_encapsulated:
        try:
            known = syntax == RLELossless or get_decoder(syntax).is_available
        except NotImplementedError:
            known = False
        if not known:
            raise Refused("unsupported coding", f"nothing installed decodes {syntax.name} (see `medistill doctor`)")
        _check_coded(header, syntax)
    else:
        expected = _bytes(header)
        if header.PhotometricInterpretation == "YBR_FULL_422":
            expected = expected * 2 // 3
        if len(header.PixelData) < expected:
            raise Refused("truncated", f"it holds {len(header.PixelData)} bytes of pixels, {expected} were expected")
    try:
        stored = np.asarray(header.pixel_array)
        if header.PhotometricInterpretation == "PALETTE COLOR":
            stored = apply_color_lut(stored, header)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  # each decoder has its own kinds; their words may quote the header
        if syntax == JPEGExtended12Bit and int(header.get("BitsStored", 8)) > 8:
            raise Refused("unsupported coding", f"nothing installed decodes 12-bit {syntax.name}") from None
        why = f"no installed decoder could read its {syntax.name} pixels ({type(error).__name__})"
        raise Refused("cannot be decoded", why) from None
    if stored.ndim not in (2, 3) or (stored.ndim == 3 and stored.shape[2] != 3):
        raise Refused("cannot be decoded", f"its pixels have the shape {stored.shape}")
    return stored


def _bytes(header: Dataset) -> int:
    """Bytes of one frame, unpacked."""
    samples, bits = int(header.get("SamplesPerPixel", 1)), int(header.BitsAllocated)
    return (int(header.Rows) * int(header.Columns) * samples * bits + 7) // 8


def _check_coded(header: Dataset, syntax: UID) -> None:
    """Refuse a codestream of another size than the header says, before a decoder takes memory for it."""
    try:
        table = "ExtendedOffsetTable" in header  # the decoders follow it where it is there
        offsets = (header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths) if table else None
        frame = bytes(get_frame(header.PixelData, 0, number_of_frames=1, extended_offsets=offsets))
    except Exception:  # noqa: BLE001  # fragments out of shape fail in many ways
        raise Refused("cannot be decoded", f"its {syntax.name} pixels are not in fragments as they must be") from None
    if syntax == RLELossless:
        if len(frame) > 2 * _bytes(header) + RLE_HEADER:
            raise Refused("size mismatch", "its RLE pixels are longer than any coding of the size in its header")
        return
    said = (int(header.Rows), int(header.Columns), int(header.get("SamplesPerPixel", 1)))
    coded = coded_size(frame)
    if coded is None:
        raise Refused("cannot be decoded", f"its {syntax.name} pixels do not say their size where they must")
    if coded != said:
        why = f"its header says {said[0]} x {said[1]} pixels of {said[2]} samples, its {syntax.name} codestream "
        raise Refused("size mismatch", f"{why}{coded.rows} x {coded.columns} of {coded.samples}")


def _display_values(stored: np.ndarray, header: Dataset, recipe: DataRecipe) -> tuple[np.ndarray, bool]:
    """Float32 (C, H, W), brighter is larger, and whether the grey scale has still to be found."""
    if stored.ndim == 3:
        colour = stored.astype(np.float32).transpose(2, 0, 1)
        return (colour / 257 if stored.dtype == np.uint16 else colour), False
    try:
        values = apply_modality_lut(stored, header)
        values, shown = _voi(values, header, recipe)
    except Exception as error:  # noqa: BLE001  # LUTs out of shape fail in many ways
        raise Refused("unreadable", f"its look-up table cannot be applied ({type(error).__name__})") from None
    values = np.asarray(values, np.float32)
    if not np.isfinite(values).all():
        raise Refused("unreadable", "its rescaled values are not finite")
    same = not shown and values.min() == stored.min() and values.max() == stored.max()
    deep = not (same and int(header.get("BitsStored", header.BitsAllocated)) == 8)
    inverse = str(header.get("PresentationLUTShape", "")).upper() == "INVERSE"
    if header.PhotometricInterpretation == "MONOCHROME1" or inverse:
        values = values.max() + values.min() - values if deep else 255 - values
    return values[None], deep


def _voi(values: np.ndarray, header: Dataset, recipe: DataRecipe) -> tuple[np.ndarray, bool]:
    """Apply the display transform that the recipe asks for; also whether one was there."""
    if recipe.voi in ("auto", "lut") and header.get("VOILUTSequence"):
        return apply_voi(np.asarray(values, np.int64), header, index=0), True
    width = header.get("WindowWidth")
    width = width[0] if isinstance(width, MultiValue) and len(width) else width
    usable = width not in (None, "") and float(width) >= 1 and header.get("WindowCenter") not in (None, "")
    if recipe.voi in ("auto", "window") and usable:
        windowed = apply_windowing(values, header, index=0)
        if np.ptp(windowed) > 0 or np.ptp(values) == 0:  # a window that shows nothing is not what anybody meant
            return windowed, True
    return values, False


def _padding(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Where the stored value is PixelPaddingValue, or lies between it and PixelPaddingRangeLimit."""
    first = header.get("PixelPaddingValue")
    if first is None or stored.ndim == 3 or isinstance(first, bytes):
        return np.zeros(stored.shape[:2], bool)
    last = header.get("PixelPaddingRangeLimit", first)
    low, high = sorted((int(first), int(last)))
    return (stored >= low) & (stored <= high)


def _patient(header: Dataset) -> str:
    """A one-way hash of the patient's identifier; empty where there is none, or where it stands for nobody."""
    patient, issuer = _text(header, "PatientID"), _text(header, "IssuerOfPatientID")
    of_the_image = {_text(header, name) for name in NOT_OF_PATIENTS}
    if re.sub(r"[\W_]", "", patient).upper() in NOBODY or patient in of_the_image:
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
