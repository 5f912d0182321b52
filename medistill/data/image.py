"""Image: one decoded radiograph as a person would see it, before it is scaled and resized."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medistill.data.refusal import RejectedFile
from medistill.data.remark import Remark

FORMATS = "DICOM, PNG, JPEG, TIFF, BMP, WebP or NIfTI"
"""What is read, in words."""

MAX_PIXELS = 100_000_000
"""More pixels than this are taken for a decompression bomb; a chest radiograph has about 10 million."""


@dataclass(frozen=True)
class Image:
    """A decoded file.

    Attributes:
        pixels: float32 (C, H, W), C 1 or 3; larger is brighter; row 0 is the top, column 0 the left of the display.
        deep: the file stores more than 8 bits, or its values were transformed, so that the grey scale has to be found.
        padding: bool (H, W), True where the detector saw nothing.
        view: what the file says of its view, as `view_words` gives it; empty where it says nothing that is known.
        view_by: keyword of the DICOM element that says it.
        patient: a one-way hash of what the file says of its patient; empty where it says nothing.
        study: the same of its study.
        sex: of the patient, as `sex_of` gives it.
        age: band of the patient's age, as `age_band` gives it.
        synthetic: the file says that it was made, not taken of a person.
        flags: what has to be told of what the file says of itself, as `flags_of` and `examined` give it.
        states_view: the format has a place for the view, so that saying nothing means something.
        remarks: what was done to it, or what of its header could not be followed.
    """

    pixels: np.ndarray
    deep: bool
    padding: np.ndarray
    view: str = ""
    view_by: str = ""
    patient: str = ""
    study: str = ""
    sex: str | None = ""
    age: str | None = ""
    synthetic: bool = False
    flags: tuple[str, ...] = ()
    states_view: bool = False
    remarks: tuple[Remark, ...] = ()

    def remarked(self, category: str, reason: str) -> Image:
        """The same with one more remark."""
        return replace(self, remarks=(*self.remarks, Remark(category, reason)))


def check_size(height: int, width: int) -> None:
    """Refuse sizes that no radiograph has, before any memory is taken for them.

    Raises:
        RejectedFile: fewer than 8 pixels a side, or more than `MAX_PIXELS`.
    """
    if height * width > MAX_PIXELS:
        raise RejectedFile("too large", f"{height} x {width} pixels, more than {MAX_PIXELS // 10**6} million")
    if min(height, width) < 8:
        raise RejectedFile("too small", f"{height} x {width} pixels, fewer than 8 on a side")
