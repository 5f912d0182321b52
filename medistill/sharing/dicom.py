"""DICOM: the images of a distilled set as Secondary Capture objects, which a PACS can hold and a viewer can show.

Every object is built anew from the set alone (DICOM PS3.3, A.8.1): nothing of any source header can be in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from medistill.artifacts.distilled_set import DistilledSet
from medistill.data.burnt_in_text import can_carry_letters
from medistill.errors import ArtifactError, UsageError
from medistill.methods.registry import facts_of
from medistill.privacy.letters import TextFigures
from medistill.report.tile_statements import tile_sentence
from medistill.visible import visible

if TYPE_CHECKING:
    from highdicom.sc import SCImage

DATE, TIME = "20000101", "000000"
"""Of every study and image: the same for all sets, so that it says nothing of when one was made."""
IMPLEMENTATION = ("2.25.248499006674518729304925544050451296256", "MEDISTILL_1")
"""Implementation class UID (a UUID under 2.25, which needs no registration) and version name."""
METHOD = "Constructed from synthetic images; no source header was read"
NO_LETTERS = "Letters were looked for in originals and images"
LONGEST_TEXT = 64
"""Characters in a value of VR LO."""


def dicom_files(distilled: DistilledSet, text: TextFigures | None = None) -> dict[str, bytes]:
    """Write every image as a Secondary Capture object; the same set twice gives the same bytes.

    A set becomes one invented patient with one study, each class a series of it. UIDs come from the content of the set.

    BurnedInAnnotation, PatientIdentityRemoved and DeidentificationMethod speak of the pixels too (PS3.3, C.7.1.1 and
    C.7.6.1): NO and YES stand where text was looked for and none is left, or the images are too small to carry any;
    else the last two are left out, and the first is YES where letters were read and left out where nothing looked.

    Args:
        text: what the audit of the set found of text; None where it has none.

    Returns:
        ``dicom/0000.dcm`` and so on, in the order of the set -> the bytes of the file (Explicit VR Little Endian).

    Raises:
        ArtifactError: the images are neither grey nor in three colours.
        UsageError: highdicom is not installed.
    """
    if distilled.images.shape[1] not in (1, 3):
        raise ArtifactError(
            f"the images of this set have {distilled.images.shape[1]} channels",
            expected="1 channel (grey) or 3 (red, green, blue)",
            do="share the set without DICOM objects",
        )
    digest = hashlib.sha256(distilled.training_bytes() + json.dumps(distilled.class_names).encode()).hexdigest()
    pictures = distilled.viewable()
    pixels_told = _of_pixels(distilled, text)
    return {
        f"dicom/{k:04d}.dcm": _encoded(_secondary_capture(distilled, pictures[k], k, digest, pixels_told))
        for k in range(len(pictures))
    }


def _of_pixels(distilled: DistilledSet, text: TextFigures | None) -> dict[str, str | list[str]]:
    """The attributes that say what is, or is not, in the pixels: only what was checked, which small images are not."""
    if text is None or not can_carry_letters(*distilled.images.shape[2:]):
        return {}
    if text.clean:
        method = [METHOD, NO_LETTERS]
        return {"BurnedInAnnotation": "NO", "PatientIdentityRemoved": "YES", "DeidentificationMethod": method}
    return {"BurnedInAnnotation": "YES"} if text.found else {}


def _contribution(distilled: DistilledSet) -> str:
    """How the images were made, by the set's own account."""
    method = distilled.provenance.method
    if not method:
        return "Distilled images"
    family, encoder = facts_of(method).family, distilled.provenance.encoder
    made_for = f", for the encoder {encoder.words}" if encoder is not None else ""
    if (teacher := distilled.provenance.teacher) is not None:
        made_for = f", taught by {teacher.words}"
    return f"Distilled images by {family} ({method}){made_for}" if family else f"Distilled images ({method}){made_for}"


def _tiles(distilled: DistilledSet) -> str:
    """How networks are shown the images; empty where as they are."""
    told = tile_sentence(distilled.tiles, distilled.shown)
    return f". {told}" if told else ""


def _secondary_capture(
    distilled: DistilledSet, picture: np.ndarray, k: int, digest: str, pixels_told: Mapping[str, str | list[str]]
) -> SCImage:
    """Image ``k``, whose uint8 pixels (C, H, W) are ``picture``."""
    try:
        from highdicom import ContributingEquipment
        from highdicom.sc import SCImage
    except ImportError:
        raise UsageError(
            "highdicom, which writes DICOM objects, is not installed",
            expected="the extra for DICOM",
            do="run `pip install 'medistill[dicom]'`",
        ) from None
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian

    label = int(distilled.labels[k])
    name = visible(distilled.class_names[label])
    grey = len(picture) == 1
    image = SCImage(
        pixel_array=np.ascontiguousarray(picture[0] if grey else np.moveaxis(picture, 0, 2)),
        photometric_interpretation="MONOCHROME2" if grey else "RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=_uid(digest, "study"),
        series_instance_uid=_uid(digest, f"series {label}"),
        series_number=label + 1,
        series_description=f"SYNTHETIC: {name}".replace("\\", "/")[:LONGEST_TEXT].rstrip(),
        sop_instance_uid=_uid(digest, f"instance {k}"),
        instance_number=k + 1,
        manufacturer="medistill",
        patient_id=f"MEDISTILL-{digest[:16]}",
        patient_name="SYNTHETIC^DISTILLED SET",
        study_id="1",
        study_date=DATE,
        study_time=TIME,
        content_date=DATE,
        content_time=TIME,
        specific_character_set="ISO_IR 192",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.SyntheticData = "YES"
    image.ContributingEquipmentSequence = [  # highdicom adds itself, with the present time
        ContributingEquipment(
            manufacturer="medistill",
            purpose_of_reference=codes.DCM.SynthesizingEquipment,
            contribution_description=_contribution(distilled),
        )
    ]
    for keyword, value in pixels_told.items():
        setattr(image, keyword, value)
    image.StudyDescription = "SYNTHETIC distilled images"
    image.ImageComments = f"SYNTHETIC: distilled by medistill, no patient was imaged. Class: {name}{_tiles(distilled)}"
    image.PatientOrientation = image.Laterality = None  # highdicom asks for the one; a synthetic image has neither
    for stamp in ("InstanceCreationDate", "InstanceCreationTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture"):
        delattr(image, stamp)  # highdicom sets them to now
    image.file_meta.ImplementationClassUID, image.file_meta.ImplementationVersionName = IMPLEMENTATION
    return image


def _uid(digest: str, of: str) -> str:
    """A UID under 2.25 from a UUID of version 5 (ITU-T X.667): the same content has the same UID anywhere."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'medistill {digest} {of}').int}"


def _encoded(image: SCImage) -> bytes:
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
