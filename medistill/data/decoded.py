"""Decoded: what became of one file. It stands apart from what reads files, which takes seconds to load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from medistill.data.remark import Remark

TOO_MUCH = "reading it takes more memory than a worker may have"


@dataclass(frozen=True)
class Decoded:
    """What became of one file.

    Attributes:
        pixels: uint8 (C, size, size), or None where the file was refused or its pixels lie in the staging folder.
        fingerprint: SHA-256 of the decoded pixels before they were resized; equal for copies in any container.
        view: what the file says of its view.
        view_by: keyword of the DICOM element that says it.
        unstated: it could say that it is frontal, and does not.
        patient: one-way hash of its patient's identifier, empty where it has none.
        study: one-way hash of its study's, likewise.
        sex: of its patient, as `sex_of` gives it.
        age: band of its patient's age, as `age_band` gives it.
        synthetic: the file says that it was made.
        flags: what it says of itself, as `flags_of` and `examined` give it.
        masked: in how many places text was masked.
        remarks: what else was done to it, or could not be followed.
        category: of the refusal, empty where accepted.
        reason: of the refusal.
    """

    pixels: np.ndarray | None
    fingerprint: str = ""
    view: str = ""
    view_by: str = ""
    unstated: bool = False
    patient: str = ""
    study: str = ""
    sex: str | None = ""
    age: str | None = ""
    synthetic: bool = False
    flags: tuple[str, ...] = ()
    masked: int = 0
    remarks: tuple[Remark, ...] = ()
    category: str = ""
    reason: str = ""


def decoded_from(said: Mapping[str, Any]) -> Decoded:
    """What became of a file, from its fields as JSON gives them back, which has no tuples."""
    remarks = tuple(Remark(*remark) for remark in said["remarks"])
    return Decoded(**{**said, "flags": tuple(said["flags"]), "remarks": remarks})
