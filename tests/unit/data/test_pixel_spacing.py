"""Pixels made square, against pictures that are known between their pixels too."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medistill.data import pixel_spacing
from medistill.data.image import Image
from medistill.data.pixel_spacing import squared, with_square_pixels
from medistill.data.remark import MADE_SQUARE, SPACING_UNUSED


def slope(height: int, width: int, down: float, across: float) -> np.ndarray:
    """Grey that grows by 2 a unit of length down and by 5 across, at the middles of pixels of that size."""
    y, x = (np.arange(height) + 0.5) * down, (np.arange(width) + 0.5) * across
    return (2 * y[:, None] + 5 * x[None]).astype(np.float32)


def image(pixels: np.ndarray) -> Image:
    return Image(pixels=pixels[None], deep=True, padding=np.zeros(pixels.shape, bool))


def header(**elements) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(("down", "across"), [(1, 2), (2, 1), (3, 2), (0.7, 0.9)])
def test_a_slope_stays_one(down, across):
    """Linear resampling leaves what is linear, but for the outermost pixels, beyond which nothing is known."""
    made = squared(image(slope(40, 60, down, across)), (down, across))
    height, width = made.pixels.shape[1:]
    fine = min(down, across)
    assert (height, width) == (round(40 * down / fine), round(60 * across / fine))
    inner = (slice(3, -3), slice(3, -3))
    expected = slope(height, width, 40 * down / height, 60 * across / width)
    np.testing.assert_allclose(made.pixels[0][inner], expected[inner], rtol=1e-4)
    assert [remark.category for remark in made.remarks] == [MADE_SQUARE]


def test_what_touches_padding_is_padding():
    pixels = slope(10, 10, 1, 1)
    padding = np.zeros((10, 10), bool)
    padding[:, :4] = True
    pixels[padding] = -2000
    made = squared(Image(pixels=pixels[None], deep=True, padding=padding), (1, 2))
    assert made.padding.shape == (10, 20)
    assert made.padding[:, :8].all()
    assert not made.padding[:, 10:].any()
    assert made.pixels[0][~made.padding].min() >= 0


@pytest.mark.parametrize(
    ("elements", "shape"),
    [
        ({"PixelSpacing": [0.2, 0.4]}, (10, 20)),
        ({"ImagerPixelSpacing": [0.4, 0.2]}, (20, 10)),
        ({"NominalScannedPixelSpacing": [0.2, 0.4]}, (10, 20)),
        ({"PixelAspectRatio": ["2", "1"]}, (20, 10)),
        ({"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.2, 0.4]}, (10, 10)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.2, 0.4]}, (10, 20)),
        ({"PixelSpacing": [0.143, 0.1431]}, (10, 10)),
        ({"PixelSpacing": ""}, (10, 10)),
        ({}, (10, 10)),
    ],
)
def test_which_element_counts(elements, shape):
    made = with_square_pixels(image(slope(10, 10, 1, 1)), header(**elements))
    assert made.pixels.shape[1:] == made.padding.shape == shape
    assert [remark.category for remark in made.remarks] == [MADE_SQUARE] * (shape != (10, 10))


@pytest.mark.parametrize(
    "elements",
    [
        {"PixelSpacing": [0, 0.2]},
        {"PixelSpacing": [-0.2, 0.4]},
        {"PixelSpacing": 0.2},
        {"PixelSpacing": [1, 1e6]},
        {"PixelAspectRatio": ["0", "1"]},
        {"PixelAspectRatio": ["1", "1", "1"]},
    ],
)
def test_what_cannot_be_used_is_said_and_changes_nothing(elements):
    pixels = slope(10, 10, 1, 1)
    left = with_square_pixels(image(pixels), header(**elements))
    np.testing.assert_array_equal(left.pixels[0], pixels)
    assert [remark.category for remark in left.remarks] == [SPACING_UNUSED]


def test_no_more_pixels_than_any_image_may_have(monkeypatch):
    monkeypatch.setattr(pixel_spacing, "MAX_PIXELS", 10 * 10)
    assert squared(image(slope(10, 10, 1, 4)), (1, 4)).pixels.shape == (1, 2, 10)
    assert squared(image(slope(10, 10, 4, 1)), (4, 1)).pixels.shape == (1, 10, 2)
