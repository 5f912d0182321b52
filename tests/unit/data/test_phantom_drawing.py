"""What the drawing shows: lungs darker than their surroundings, and each finding where that disease lies."""

from __future__ import annotations

import numpy as np
import pytest

from medistill.data.phantom_drawing import Exposure, Finding, Habitus, draw_phantom

SIZE = 96
CENTRED = Exposure(
    angle=0.0,
    shift=(0.0, 0.0),
    zoom=1.0,
    inspiration=0.0,
    gamma=1.0,
    brightness=0.0,
    dose=1e9,
    blur=0.002,
    marker="R",
)


def _draw(person: int, finding: Finding, severity: float = 0.8, exposure: Exposure = CENTRED) -> np.ndarray:
    habitus = Habitus.draw(np.random.default_rng(person), sex="M")
    disease, texture = np.random.default_rng([person, 1]), np.random.default_rng([person, 2])
    return draw_phantom(habitus, exposure, finding, severity, SIZE, disease, texture)


def _halves(change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left and right half (SIZE, SIZE / 2) of the picture, both with the midline at column 0."""
    return change[:, : SIZE // 2][:, ::-1], change[:, SIZE // 2 :]


@pytest.mark.parametrize("person", range(8))
def test_covid_lies_on_both_sides_and_towards_the_border(person: int) -> None:
    for half in _halves(_draw(person, "COVID") - _draw(person, "Normal")):
        assert half.max() > 0.08
        columns = half.clip(0).sum(axis=0)
        middle = float(columns @ np.arange(SIZE // 2) / columns.sum()) / (SIZE // 2)
        assert 0.45 < middle < 0.85, "the opacities' centre of mass, as a share of the half width"


@pytest.mark.parametrize("person", range(8))
def test_pneumonia_lies_on_one_side_in_one_piece(person: int) -> None:
    halves = _halves(_draw(person, "Pneumonia") - _draw(person, "Normal"))
    sums = sorted(np.abs(half).sum() for half in halves)
    assert sums[0] < 1e-2 * sums[1]
    sick = max(halves, key=lambda half: half.sum())
    rows, columns = np.nonzero(sick > 0.4 * sick.max())
    assert sick.max() > 0.12
    assert rows.std() < 0.12 * SIZE
    assert columns.std() < 0.12 * SIZE


def test_both_sides_are_struck_by_pneumonia_in_turn() -> None:
    sides = set()
    for person in range(12):
        left, right = _halves(_draw(person, "Pneumonia") - _draw(person, "Normal"))
        sides.add(bool(left.sum() > right.sum()))
    assert sides == {True, False}


@pytest.mark.parametrize("finding", ["COVID", "Pneumonia"])
def test_a_finding_grows_with_its_severity_and_vanishes_at_none(finding: Finding) -> None:
    normal = _draw(0, "Normal")
    sums = [float((_draw(0, finding, severity) - normal).sum()) for severity in (0.0, 0.3, 0.6, 0.9)]
    assert sums[0] == pytest.approx(0, abs=1e-2)
    assert sums == sorted(sums)
    assert sums[3] > 2 * sums[1]


@pytest.mark.parametrize("person", range(6))
def test_lungs_are_darker_than_what_surrounds_them_and_the_heart_lies_on_the_viewers_right(person: int) -> None:
    grey = _draw(person, "Normal")
    row, left, right = SIZE // 2, int(0.3 * SIZE), int(0.72 * SIZE)
    spine, belly = grey[row, SIZE // 2 - 2 : SIZE // 2 + 2].mean(), grey[int(0.95 * SIZE), left]
    for column in (left, right):
        lung = grey[row - 4 : row + 4, column - 3 : column + 3].mean()
        assert lung < 0.75 * spine
        assert lung < 0.8 * belly
    heart = slice(int(0.62 * SIZE), int(0.72 * SIZE))
    beside = int(0.14 * SIZE)
    assert grey[heart, SIZE // 2 + beside].mean() > grey[heart, SIZE // 2 - beside - 2].mean() + 0.1


def test_a_patients_opacities_stay_where_they_were_in_another_image() -> None:
    habitus = Habitus.draw(np.random.default_rng(5), sex="F")
    found = []
    for image in range(2):
        pair = [
            draw_phantom(
                habitus, CENTRED, finding, 0.8, SIZE, np.random.default_rng(9), np.random.default_rng([5, image])
            )
            for finding in ("Pneumonia", "Normal")
        ]
        found.append(pair[0] - pair[1])
    assert np.corrcoef(found[0].ravel(), found[1].ravel())[0, 1] > 0.9


def test_fewer_quanta_make_more_noise() -> None:
    def roughness(dose: float) -> float:
        exposure = Exposure(**{**vars(CENTRED), "dose": dose})
        return float((_draw(0, "Normal", exposure=exposure) - _draw(0, "Normal"))[60:90, 20:40].std())

    assert roughness(250) == pytest.approx(2 * roughness(1000), rel=0.1)


@pytest.mark.parametrize("size", [32, 33, 256])
def test_range_and_type(size: int) -> None:
    rng = np.random.default_rng(0)
    habitus, exposure = Habitus.draw(rng, sex="F"), Exposure.draw(rng, supine=True)
    grey = draw_phantom(habitus, exposure, "COVID", 1.0, size, rng, rng)
    assert grey.shape == (size, size)
    assert grey.dtype == np.float32
    assert 0 <= grey.min() < 0.1
    assert 0.8 < grey.max() <= 1


@pytest.mark.parametrize("marker", ["L", "R"])
def test_the_side_marker_stands_on_its_side(marker: str) -> None:
    exposure = Exposure(**{**vars(CENTRED), "marker": marker})
    top = _draw(0, "Normal", exposure=exposure)[: SIZE // 6]
    bright = np.flatnonzero((top == np.float32(0.97)).any(axis=0))
    assert bright.size
    assert (bright.max() < SIZE // 4) if marker == "R" else (bright.min() > 3 * SIZE // 4)
