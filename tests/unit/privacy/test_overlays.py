"""Overlays: a banner that all images share is found, anatomy is not, and a set that shows it is told from one that does
not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medistill.privacy.overlays import SharedPattern, likeness, shared_pattern
from tests.factories.burnt_in import strokes

SIDE = 96
BANNER = strokes(SIDE, SIDE, "ST ALPHA", 14, (8, 6))


def bodies(count: int, seed: int = 0) -> np.ndarray:
    """Uint8 (N, 1, SIDE, SIDE): a shape that moves from one to the next, with smooth detail of its own."""
    numbers = np.random.default_rng(seed)
    detail = gaussian_filter(numbers.normal(size=(count, SIDE, SIDE)), (0, 2, 2)) * 150
    body = np.hypot(*np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))) * 60
    moved = np.stack([np.roll(body, numbers.integers(-6, 7, 2), (0, 1)) for _ in range(count)])
    return np.clip(90 + moved + detail, 0, 255).astype(np.uint8)[:, None]


def stamped(images: np.ndarray, contrast: float = 80) -> np.ndarray:
    return np.clip(images + contrast * BANNER, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pattern() -> SharedPattern:
    return shared_pattern(stamped(bodies(300)), np.arange(300))


def test_what_all_share_is_found_and_anatomy_is_not(pattern: SharedPattern) -> None:
    rows = np.arange(300)
    assert not shared_pattern(bodies(300), rows).where.any()
    letters = BANNER > 0.9
    assert pattern.where[letters].mean() > 0.95
    assert not pattern.where[SIDE // 2 :].any()
    rarely = np.concatenate([stamped(bodies(60)), bodies(240, seed=1)])
    assert not shared_pattern(rarely, rows).where.any()


def test_of_some_rows_only_those_are_read() -> None:
    images = np.concatenate([bodies(100), stamped(bodies(100, seed=1))])
    assert not shared_pattern(images, np.arange(100)).where.any()
    assert shared_pattern(images, np.arange(100, 200)).where.any()


def test_a_set_that_shows_the_banner_is_told_from_one_that_does_not(pattern: SharedPattern) -> None:
    fresh = bodies(20, seed=9).astype(float)
    shown = likeness(pattern, (fresh + 25 * BANNER).mean(axis=(0, 1)))
    absent = likeness(pattern, fresh.mean(axis=(0, 1)))
    assert shown[0] > 0.5
    assert shown[1] <= 0.01
    assert absent[0] < 0.5
    moved = likeness(pattern, np.roll((fresh + 25 * BANNER).mean(axis=(0, 1)), 40, axis=0))
    assert moved[0] < 0.5
