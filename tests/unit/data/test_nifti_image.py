"""NIfTI slices, from headers put together here as other programs write them."""

from __future__ import annotations

import gzip
import struct
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from medistill.data.image import Image
from medistill.data.radiograph import read_image
from medistill.data.refusal import RejectedFile
from medistill.recipe import DataRecipe

KEEP = DataRecipe(view_policy="keep")
ACROSS, DOWN = 14, 11
TYPES = {"u1": 2, "i2": 4, "f4": 16, "rgb": 128}


def nifti(
    values: bytes,
    lengths: tuple[int, ...],
    *,
    kind: str = "i2",
    affine: np.ndarray | None = None,
    pixdim: tuple[float, ...] = (1, 1, 1),
    slope: tuple[float, float] = (1, 0),
) -> bytes:
    """A NIfTI-1 file (nifti1.h) with an sform where ``affine`` is given; ``lengths`` are those of dim[1] and on."""
    start = bytearray(352)
    struct.pack_into("<i", start, 0, 348)
    struct.pack_into("<8h", start, 40, len(lengths), *lengths, *[1] * (7 - len(lengths)))
    struct.pack_into("<hh", start, 70, TYPES[kind], 24 if kind == "rgb" else 8 * np.dtype(kind).itemsize)
    struct.pack_into("<8f", start, 76, 1, *pixdim, *[0] * (7 - len(pixdim)))
    struct.pack_into("<fff", start, 108, 352, *slope)
    if affine is not None:
        struct.pack_into("<hh", start, 252, 0, 1)
        struct.pack_into("<12f", start, 280, *affine[:3].ravel())
    start[344:348] = b"n+1\0"
    return bytes(start) + values


def read(tmp_path: Path, content: bytes, name: str = "a.nii") -> Image:
    (tmp_path / name).write_bytes(content)
    return read_image(tmp_path / name, KEEP)


def picture() -> np.ndarray:
    return np.arange(DOWN * ACROSS, dtype=np.int16).reshape(DOWN, ACROSS)


ITK = np.diag([-1.0, -1, 1, 1])
"""What ITK writes for a picture whose rows run to the patient's left and whose columns run backwards."""


@pytest.mark.parametrize("lengths", [(ACROSS, DOWN), (ACROSS, DOWN, 1), (ACROSS, DOWN, 1, 1), (ACROSS, DOWN, 1, 1, 1)])
@pytest.mark.parametrize("third", [1.0, 0.0])
def test_a_slice_as_itk_writes_it(tmp_path, lengths, third):
    """The first axis varies fastest, so the rows of a picture follow each other as in any other file."""
    affine = ITK @ np.diag([1, 1, third, 1])
    pixdim = (1.0, 1.0, third)[: len(lengths)]
    content = nifti(picture().tobytes(), lengths, affine=affine, pixdim=pixdim)
    for name, data in (("a.nii", content), ("a.nii.gz", gzip.compress(content))):
        image = read(tmp_path, data, name)
        np.testing.assert_array_equal(image.pixels[0], picture())
        assert image.remarks == ()


def test_slope_and_intercept(tmp_path):
    content = nifti(picture().tobytes(), (ACROSS, DOWN), affine=ITK, slope=(-0.5, 7))
    np.testing.assert_allclose(read(tmp_path, content).pixels[0], 7 - 0.5 * picture())


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_every_orientation(tmp_path, axes, signs):
    """Each pixel's place in the patient (right to left, back to front, feet to head), against where it is shown."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for n, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, n] = sign
    image = read(tmp_path, nifti(picture().tobytes(), (ACROSS, DOWN), affine=affine))
    place = {}
    for j, i in product(range(DOWN), range(ACROSS)):
        place[float(picture()[j, i])] = (affine @ [i, j, 0, 1])[:3]
    shown = np.array([[place[value] for value in row] for row in image.pixels[0].tolist()])
    along_row, along_column = shown[0, 1] - shown[0, 0], shown[1, 0] - shown[0, 0]
    left, front, head = np.eye(3)
    left = -left  # the first coordinate of NIfTI grows to the patient's right
    frontal, axial, sagittal = ((left, -head), (left, -front), (-front, -head))
    expected = {2: axial, 1: frontal, 0: sagittal}[axes[2]]
    np.testing.assert_array_equal([along_row, along_column], expected)


def test_without_an_orientation_the_first_axis_runs_along_the_rows(tmp_path):
    np.testing.assert_array_equal(read(tmp_path, nifti(picture().tobytes(), (ACROSS, DOWN))).pixels[0], picture())


@pytest.mark.parametrize("affine", [np.full((4, 4), np.nan), np.zeros((4, 4))])
def test_an_orientation_of_no_use_is_said(tmp_path, affine):
    image = read(tmp_path, nifti(picture().tobytes(), (ACROSS, DOWN), affine=affine))
    np.testing.assert_array_equal(image.pixels[0], picture())
    assert [remark.category for remark in image.remarks] == ["orientation not followed"]


@pytest.mark.parametrize("affine", [None, ITK @ np.diag([0.2, 0.4, 1, 1])])
def test_pixels_become_square(tmp_path, affine):
    image = read(tmp_path, nifti(picture().tobytes(), (ACROSS, DOWN), affine=affine, pixdim=(0.2, 0.4)))
    assert image.pixels.shape == (1, 2 * DOWN, ACROSS)
    quarter = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    turned = read(tmp_path, nifti(picture().tobytes(), (ACROSS, DOWN), affine=quarter, pixdim=(0.2, 0.4)))
    assert turned.pixels.shape == (1, ACROSS, 2 * DOWN)


def test_colour(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (DOWN, ACROSS, 3), dtype=np.uint8)
    records = read(tmp_path, nifti(colour.tobytes(), (ACROSS, DOWN), kind="rgb", affine=ITK))
    np.testing.assert_array_equal(records.pixels, colour.transpose(2, 0, 1))
    assert not records.deep
    planes = colour.transpose(2, 0, 1).tobytes()
    fifth = read(tmp_path, nifti(planes, (ACROSS, DOWN, 1, 1, 3), kind="u1", affine=ITK))
    np.testing.assert_array_equal(fifth.pixels, colour.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "lengths", [(ACROSS, DOWN, 2), (ACROSS, DOWN, 1, 2), (ACROSS, DOWN, 1, 1, 2), (ACROSS,), (ACROSS, 1)]
)
def test_more_than_a_slice_is_refused(tmp_path, lengths):
    content = nifti(bytes(2 * int(np.prod(lengths))), lengths, affine=ITK)
    with pytest.raises(RejectedFile) as refused:
        read(tmp_path, content)
    assert refused.value.category == "several frames"
