"""DICOM pictures turned to the standard view, against the coordinates of each of their pixels in the patient."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medistill.data.image import Image
from medistill.data.orientation import upright
from medistill.data.remark import ORIENTATION_UNUSED, TURNED
from medistill.recipe import DataRecipe

HEIGHT, WIDTH = 9, 12
RECIPE = DataRecipe()
FRONTAL = {
    "towards": {(1, 0): "L", (-1, 0): "R", (0, 1): "F", (0, -1): "H"},
    "axes": ([1, 0, 0], [0, 0, -1]),
}


def header(**elements) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def image(pixels: np.ndarray) -> Image:
    return Image(pixels=pixels[None].astype(np.float32), deep=True, padding=pixels % 5 == 0)


def standard() -> np.ndarray:
    """Every pixel of a frontal view (rows to the patient's left, columns to the feet) has a number of its own."""
    return np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)


def ways_to_lie() -> list:
    """All eight ways in which a device can store a picture, as functions of its pixels."""
    return [
        lambda p, n=n, mirrored=mirrored: np.rot90(p[:, ::-1] if mirrored else p, n)
        for n, mirrored in product(range(4), (False, True))
    ]


def directions(lies) -> list[tuple[int, int]]:
    """How (left, feetward) change along the rows and along the columns of a stored picture."""
    feetward, left = np.mgrid[:HEIGHT, :WIDTH]
    left, feetward = lies(left), lies(feetward)
    along_row = (left[0, 1] - left[0, 0], feetward[0, 1] - feetward[0, 0])
    along_column = (left[1, 0] - left[0, 0], feetward[1, 0] - feetward[0, 0])
    return [along_row, along_column]


@pytest.mark.parametrize("way", range(8))
@pytest.mark.parametrize("element", ["PatientOrientation", "ImageOrientationPatient"])
def test_a_frontal_view_however_it_lies(way, element):
    lies = ways_to_lie()[way]
    stated = directions(lies)
    words = [FRONTAL["towards"][direction] for direction in stated]
    if element == "ImageOrientationPatient":  # its third coordinate grows to the head
        words = [number for left, feetward in stated for number in (left, 0.02, -feetward)]
    turned = upright(image(lies(standard())), header(**{element: words}), RECIPE)
    np.testing.assert_array_equal(turned.pixels[0], standard())
    np.testing.assert_array_equal(turned.padding, standard() % 5 == 0)
    assert [remark.category for remark in turned.remarks] == ([] if way == 0 else [TURNED])


@pytest.mark.parametrize("across", "AP")
@pytest.mark.parametrize("turns", range(4))
def test_a_lateral_view_is_turned_and_not_mirrored(across, turns):
    opposite = {"A": "P", "P": "A"}[across]
    words = [[across, "F"], ["F", opposite], [opposite, "H"], ["H", across]][turns]
    turned = upright(image(np.rot90(standard(), turns)), header(PatientOrientation=words), RECIPE)
    np.testing.assert_array_equal(turned.pixels[0], standard())


@pytest.mark.parametrize("words", [["RA", "FP"], "R\\F", ["r", "f"], "R/F", ["R ", "FA"]])
def test_how_it_may_be_written(words):
    elements = Dataset()
    elements.add_new("PatientOrientation", "CS", words)
    turned = upright(image(standard()[:, ::-1]), elements, RECIPE)
    np.testing.assert_array_equal(turned.pixels[0], standard())


@pytest.mark.parametrize(
    "elements",
    [
        {"PatientOrientation": ["L", "R"]},
        {"PatientOrientation": ["L", "P"]},
        {"PatientOrientation": ["H", "F"]},
        {"PatientOrientation": ["X", "Y"]},
        {"PatientOrientation": ["LR", "F"]},
        {"PatientOrientation": "L"},
        {"PatientOrientation": ["L", ""]},
        {"PatientOrientation": ["L", "F", "A"]},
        {"PatientOrientation": ["DOE", "JANE"]},
        {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"ImageOrientationPatient": [1, 0, 0]},
        {"FieldOfViewHorizontalFlip": "YES"},
        {"FieldOfViewRotation": "180.0", "FieldOfViewHorizontalFlip": "NO"},
    ],
)
def test_what_cannot_be_followed_is_said_and_changes_nothing(elements):
    left = upright(image(standard()), header(**elements), RECIPE)
    np.testing.assert_array_equal(left.pixels[0], standard())
    (remark,) = left.remarks
    assert remark.category == ORIENTATION_UNUSED
    assert "DOE" not in remark.reason


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"PatientOrientation": ""},
        {"PatientOrientation": ["L", "F"]},
        {"PatientOrientation": ["A", "F"]},
        {"FieldOfViewRotation": "0", "FieldOfViewHorizontalFlip": "NO"},
        {"PatientOrientation": ["L", "F"], "FieldOfViewRotation": "90", "FieldOfViewHorizontalFlip": "YES"},
    ],
)
def test_what_lies_right_or_says_nothing_is_left_without_a_word(elements):
    """What the device did to the picture before it was stored is in PatientOrientation already."""
    left = upright(image(standard()), header(**elements), RECIPE)
    np.testing.assert_array_equal(left.pixels[0], standard())
    assert left.remarks == ()


def test_as_stored():
    stored = standard()[::-1]
    left = upright(image(stored), header(PatientOrientation=["L", "H"]), DataRecipe(orientation="as_stored"))
    np.testing.assert_array_equal(left.pixels[0], stored)
    assert left.remarks == ()
