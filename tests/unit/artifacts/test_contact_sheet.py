"""The contact sheet shows every image once, in the row of its class."""

from __future__ import annotations

import numpy as np
import pytest

from medistill.artifacts.contact_sheet import TILE, contact_sheet


def _flat(levels: list[int], side: int = 8, channels: int = 1) -> np.ndarray:
    return np.stack([np.full((channels, side, side), level, np.uint8) for level in levels])


def _tiles(pixels: np.ndarray, level: int, side: int) -> list[tuple[int, int]]:
    """Top left corners (row, column) of solid squares of a grey level."""
    same = (pixels == level).all(axis=2).astype(int)
    table = np.pad(same.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
    return [(int(r), int(c)) for r, c in np.argwhere(sums == side * side)]


def test_every_image_is_there_once_and_classes_stand_under_one_another() -> None:
    levels, labels = [10, 60, 110, 160, 210], np.array([1, 0, 1, 0, 1])
    sheet = np.asarray(contact_sheet(_flat(levels), labels, ["first", "second"]))
    places = {level: _tiles(sheet, level, TILE) for level in levels}
    assert all(len(found) == 1 for found in places.values())
    rows = {label: {places[lv][0][0] for lv, lb in zip(levels, labels, strict=True) if lb == label} for label in (0, 1)}
    assert len(rows[0]) == len(rows[1]) == 1
    assert rows[0].pop() + TILE <= rows[1].pop()
    assert places[60][0][1] < places[160][0][1]
    assert places[10][0][1] < places[110][0][1] < places[210][0][1]


def test_a_long_class_is_wrapped() -> None:
    levels = list(range(10, 170, 10))
    sheet = np.asarray(contact_sheet(_flat(levels), np.zeros(16, np.int64), ["one"], per_row=5))
    places = [_tiles(sheet, level, TILE)[0] for level in levels]
    assert len({row for row, _ in places}) == 4
    assert len({column for _, column in places}) == 5


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (33, 3), (112, 1), (1, 1)])
def test_every_size_of_image_is_drawn_large_enough(side: int, channels: int) -> None:
    sheet = np.asarray(contact_sheet(_flat([100], side, channels), np.array([0]), ["one"]))
    assert len(_tiles(sheet, 100, max(TILE, side))) >= 1


def test_colours_and_detail_are_kept() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 96, 96)).astype(np.uint8)
    sheet = np.asarray(contact_sheet(image, np.array([1]), ["empty class", "full class"]))
    top, left = sheet.shape[0] - 96 - 4, 4
    np.testing.assert_array_equal(sheet[top : top + 96, left : left + 96], np.moveaxis(image[0], 0, 2))
