"""Brightness by level against brightness by pixel, to the bit, under every display transform."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medistill.data.display_transform import display_values, padded
from medistill.data.levels import displayed
from medistill.data.stored_values import Place, Stored
from medistill.recipe import DataRecipe

RECIPE = DataRecipe()
BITS = 12


def header(**elements: object) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def lut(values: np.ndarray) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(values), 0, 16]
    item.LUTData = values.astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    return item


CASES: dict[str, dict[str, object]] = {
    "nothing said": {},
    "window": {"WindowCenter": 1800, "WindowWidth": 2200, "RescaleSlope": 1.5, "RescaleIntercept": -200},
    "sigmoid": {"WindowCenter": 1800, "WindowWidth": 2200, "VOILUTFunction": "SIGMOID"},
    "VOI LUT": {"VOILUTSequence": [lut(np.sqrt(np.arange(4096)) * 1000)]},
    "inverse": {"PresentationLUTShape": "INVERSE"},
    "padding": {"PixelPaddingValue": 17, "PixelPaddingRangeLimit": 600},
    "a window that shows nothing": {"WindowCenter": 90000, "WindowWidth": 10},
}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("name", CASES)
def test_levels_give_what_pixels_give(name: str, photometric: str, signed: bool) -> None:
    rng = np.random.default_rng(0)
    place = Place(16, BITS, 0, signed)
    values = rng.integers(place.lowest // 2, place.highest - 90, (260, 300)).astype(np.int32)
    stored, said = Stored(values, place, photometric), header(**CASES[name])
    padding = padded(stored, said)
    pixels, deep, left_out = display_values(stored, said, padding, RECIPE)
    found = displayed(stored, said, RECIPE)
    assert found.pixels.dtype == pixels.dtype
    assert found.pixels.tobytes() == pixels.tobytes()
    assert (found.padding == padding).all()
    assert (found.deep, found.left_out) == (deep, left_out)


@pytest.mark.parametrize("shape", [(8, 9), (40, 50, 3)])
def test_few_pixels_and_colour_go_pixel_by_pixel(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 4096, shape).astype(np.int32)
    stored = Stored(values, Place(16, BITS, 0, False), "RGB" if len(shape) == 3 else "MONOCHROME2")
    pixels, deep, _ = display_values(stored, header(), padded(stored, header()), RECIPE)
    found = displayed(stored, header(), RECIPE)
    assert found.pixels.tobytes() == pixels.tobytes()
    assert found.deep == deep
