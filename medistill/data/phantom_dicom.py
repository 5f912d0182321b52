"""The DICOM form of a phantom image: a digital or computed radiograph of an invented patient, marked SYNTHETIC."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

BITS = 12
"""Bits stored, in 16 allocated."""
DETECTOR_MM = 400.0
"""Height and width of the detector."""
_ONSETS = ("Br", "Dr", "F", "G", "Kl", "M", "P", "Qu", "Sv", "T", "V", "Z")
_VOWELS = ("a", "e", "i", "o", "u", "ae", "ou")
_CODAS = ("bbel", "dric", "lmor", "nquist", "rvan", "ssel", "thorp", "xley")


@dataclass(frozen=True)
class PhantomPatient:
    """An invented person: DICOM name, id, birth date (YYYYMMDD) and sex. Any likeness is an accident of the seed."""

    name: str
    identifier: str
    birth_date: str
    sex: Literal["F", "M"]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> PhantomPatient:
        """Invent one."""

        def word() -> str:
            parts = [str(rng.choice(_ONSETS)), str(rng.choice(_VOWELS)), str(rng.choice(_CODAS))]
            return "".join(parts).capitalize()

        name = f"{word()}{word().lower()}^{word()}"
        identifier = f"ZQ{int(rng.integers(10**8, 10**9))}"
        born = f"{int(rng.integers(1931, 2003))}{int(rng.integers(1, 13)):02d}{int(rng.integers(1, 29)):02d}"
        return cls(name, identifier, born, "F" if rng.random() < 0.5 else "M")


@dataclass(frozen=True)
class PhantomSite:
    """An invented hospital and its machine.

    Attributes:
        name: folder name.
        modality: DX or CR.
        supine: share of its images taken lying, in AP.
        inverted: share of its images stored as MONOCHROME1.
    """

    name: str
    modality: Literal["DX", "CR"]
    supine: float
    inverted: float


SITES = (
    PhantomSite("north", "DX", supine=0.15, inverted=0.25),
    PhantomSite("south", "CR", supine=0.35, inverted=1.0),
)


@dataclass(frozen=True)
class PhantomImage:
    """What one file holds besides its pixels.

    Attributes:
        patient: whose it is.
        site: where it was taken.
        view: PA or AP.
        inverted: stored as MONOCHROME1.
        study_date: YYYYMMDD.
        accession: accession number.
        key: what its UIDs are derived from; unique in a corpus.
        study_key: the same for the images of one study.
    """

    patient: PhantomPatient
    site: PhantomSite
    view: Literal["PA", "AP"]
    inverted: bool
    study_date: str
    accession: str
    key: str
    study_key: str


def phantom_uid(key: str) -> str:
    """A UID under the root 2.25, which needs no registration: the first 120 bits of the key's SHA-256."""
    return f"2.25.{int(hashlib.sha256(key.encode()).hexdigest()[:30], 16)}"


def phantom_dataset(grey: np.ndarray, image: PhantomImage) -> FileDataset:
    """Put a drawn image (H, W) float, 0 black to 1 white, into a DICOM dataset ready to be written."""
    top = 2**BITS - 1
    stored = np.rint(np.clip(grey, 0, 1) * (0.86 * top) + 0.05 * top).astype("<u2")
    if image.inverted:
        stored = (top - stored).astype("<u2")
    digital = image.site.modality == "DX"
    instance = phantom_uid(image.key)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = (
        DigitalXRayImageStorageForPresentation if digital else ComputedRadiographyImageStorage
    )
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = phantom_uid("medistill phantom")
    meta.ImplementationVersionName = "MEDISTILL_PHANTM"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = instance
    dataset.SyntheticData = "YES"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = image.study_date
    dataset.StudyTime = dataset.ContentTime = f"{8 + len(image.key) % 9:02d}1500"
    dataset.AccessionNumber = image.accession
    dataset.Modality = image.site.modality
    dataset.Manufacturer = "SYNTHETIC"
    dataset.InstitutionName = f"Invented hospital {image.site.name}"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "SYNTHETIC CHEST"
    dataset.SeriesDescription = f"SYNTHETIC chest phantom {image.view}"
    dataset.PatientName = image.patient.name
    dataset.PatientID = image.patient.identifier
    dataset.PatientBirthDate = image.patient.birth_date
    dataset.PatientSex = image.patient.sex
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = image.view
    dataset.AnatomicRegionSequence = Sequence([_code_item(codes.SCT.Chest)])
    dataset.StudyInstanceUID = phantom_uid(f"study {image.study_key}")
    dataset.SeriesInstanceUID = phantom_uid(f"series {image.key}")
    dataset.StudyID = "1"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    dataset.PatientOrientation = ["L", "F"]
    dataset.ImageComments = "SYNTHETIC: drawn by medistill, no patient was imaged"
    dataset.BurnedInAnnotation = "NO"
    if digital:
        dataset.PresentationIntentType = "FOR PRESENTATION"
        view = codes.SCT.PosteroAnterior if image.view == "PA" else codes.SCT.AnteroPosterior
        dataset.ViewCodeSequence = Sequence([_code_item(view)])
        dataset.ImageLaterality = "U"
        dataset.PixelIntensityRelationship = "LOG"
        dataset.PixelIntensityRelationshipSign = 1 if image.inverted else -1
        dataset.PresentationLUTShape = "INVERSE" if image.inverted else "IDENTITY"
        dataset.AcquisitionContextSequence = Sequence()
        dataset.DetectorType = "DIRECT"
        dataset.PositionerType = "NONE"
        dataset.LossyImageCompression = "00"
    rows, columns = stored.shape
    spacing = [round(DETECTOR_MM / rows, 4), round(DETECTOR_MM / columns, 4)]
    dataset.ImagerPixelSpacing = spacing
    dataset.PixelSpacing = spacing
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if image.inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, BITS, BITS - 1
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.WindowCenter, dataset.WindowWidth = 2**BITS // 2, 2**BITS
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def _code_item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
