"""Orientation: which way up a DICOM picture lies by its header, and the turn to the standard view.

PatientOrientation (PS3.3, C.7.6.1.1.1) says towards which side of the patient the rows and the columns of the stored
picture run, after whatever the device did to it. FieldOfViewRotation and FieldOfViewHorizontalFlip (C.8.11.4) say what
that was, relative to the detector: it has been done already, and where the patient was is not in it.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.multival import MultiValue

from medistill.data.image import Image
from medistill.data.remark import ORIENTATION_UNUSED, TURNED
from medistill.recipe import DataRecipe

SIDES = ("LR", "PA", "HF")
"""Axes of the patient: left and right, posterior and anterior, head and feet; DICOM's coordinates grow to the first."""
AXIS = {side: axis for axis, sides in enumerate(SIDES) for side in sides}
UPRIGHT = 2
"""The axis that a standing patient has from top to bottom."""


class Turn(NamedTuple):
    """What is done to a picture, in this order."""

    transposed: bool
    upside_down: bool
    mirrored: bool


def upright(image: Image, header: Dataset, recipe: DataRecipe) -> Image:
    """Turn a picture to the standard view: the head on top, and the patient's left on the right of a frontal view.

    A lateral view is turned head up and never mirrored, since it has no standard side. What the header says and cannot
    be followed is remarked on, and the picture left as it is.
    """
    if recipe.orientation == "as_stored":
        return image
    element, stated = _stated(header)
    if not stated:
        done = _by_device(header)
        reason = (
            f"left as it is: its header says that the device {done} it, and not how it lies (no PatientOrientation)"
        )
        return image.remarked(ORIENTATION_UNUSED, reason) if done else image
    sides = tuple(map(_side, stated))
    turn = _turn(*sides) if len(sides) == 2 else None
    lies = "\\".join(stated) if all(sides) else "something that is no pair of sides of a patient"
    if turn is None:
        return image.remarked(ORIENTATION_UNUSED, f"left as it is: its {element} is {lies}, which no upright view has")
    if not any(turn):
        return image
    turned = replace(image, pixels=_turned(image.pixels, turn), padding=_turned(image.padding[None], turn)[0])
    return turned.remarked(TURNED, f"it was turned to the standard view: its {element} is {lies}")


def _by_device(header: Dataset) -> str:
    """What the device did to the picture of its detector, in words; "" where it did nothing or nothing is said."""
    rotation = _values(header, "FieldOfViewRotation")[0].partition(".")[0]
    flipped = _values(header, "FieldOfViewHorizontalFlip")[0].upper() == "YES"
    return " and ".join(["rotated"] * (rotation in ("90", "180", "270")) + ["flipped"] * flipped)


def _stated(header: Dataset) -> tuple[str, tuple[str, ...]]:
    """The element that says how a picture lies, and its words; none where nothing is said."""
    words = _values(header, "PatientOrientation")
    if any(words):
        parts = words if len(words) > 1 else re.split(r"[\\/, ]+", words[0])
        return "PatientOrientation", tuple(part.upper() for part in parts)
    cosines = _values(header, "ImageOrientationPatient")
    return "ImageOrientationPatient", _nearest(cosines) if any(cosines) else ()


def _values(header: Dataset, keyword: str) -> tuple[str, ...]:
    """Values as text; what is not even of the element's kind is one word that means nothing."""
    try:
        value = header.get(keyword)
    except (ValueError, TypeError):
        return ("?",)
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    return tuple("" if one is None else str(one).strip() for one in values)


def _nearest(cosines: tuple[str, ...]) -> tuple[str, ...]:
    """The sides nearest to the directions of rows and columns (PS3.3, C.7.6.2.1.1)."""
    try:
        numbers = np.array([float(cosine) for cosine in cosines])
    except ValueError:
        return ("?",)
    if len(numbers) != 6 or not all(map(math.isfinite, numbers)) or not numbers.any():
        return ("?",)
    directions = numbers.reshape(2, 3)
    axes = np.abs(directions).argmax(1)
    return tuple(SIDES[axis][int(one[axis] < 0)] for axis, one in zip(axes, directions, strict=True))


def _side(word: str) -> str:
    """The side that a word names first, the nearest one where it names several; "" where it names none."""
    named = [AXIS.get(letter) for letter in word]
    return word[0] if named and None not in named and len(set(named)) == len(named) else ""


def _turn(rows: str, columns: str) -> Turn | None:
    """The turn of a picture whose rows and columns run towards these sides; None where it shows no upright patient."""
    transposed = AXIS.get(rows) == UPRIGHT
    across, down = (columns, rows) if transposed else (rows, columns)
    if AXIS.get(down) != UPRIGHT or AXIS.get(across, UPRIGHT) == UPRIGHT:
        return None
    upside_down = down == "H"
    return Turn(transposed, upside_down, across == "R" if AXIS[across] == AXIS["L"] else transposed != upside_down)


def _turned(planes: np.ndarray, turn: Turn) -> np.ndarray:
    """Planes (C, H, W) turned."""
    if turn.transposed:
        planes = planes.swapaxes(1, 2)
    return np.ascontiguousarray(planes[:, :: -1 if turn.upside_down else 1, :: -1 if turn.mirrored else 1])
