"""Equalisation: whole numbers that agree with a plain count and with Pillow, at reading and nowhere else."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from medistill.data import text_masking
from medistill.data.burnt_in_text import Box
from medistill.data.decoding import decode_chunk
from medistill.data.equalise import equalised
from medistill.recipe import DataRecipe, Recipe, load_recipe, override_recipe
from medistill.workflow.prepare import prepare


def counted(channel: np.ndarray) -> np.ndarray:
    """The same, pixel by pixel, in fractions."""
    others = int(np.sum(channel > channel.min()))
    if not others:
        return channel
    shares = {
        value: Fraction(255 * int(np.sum((channel <= value) & (channel > channel.min()))), others)
        for value in np.unique(channel)
    }
    return np.vectorize(lambda value: int(shares[value] + Fraction(1, 2)))(channel).astype(np.uint8)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 5, 256]), st.sampled_from([1, 3]))
def test_it_is_what_counting_gives(seed: int, values: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.choice(256, values, replace=False)[rng.integers(values, size=(channels, 9, 7))].astype(np.uint8)
    assert np.array_equal(equalised(pixels), np.stack([counted(channel) for channel in pixels]))


def photograph(size: int, seed: int = 0) -> np.ndarray:
    grey = gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), size / 12)
    return np.interp(grey, (grey.min(), grey.max()), (40, 200)).astype(np.uint8)


def test_pillow_agrees_but_for_its_rounding() -> None:
    """Pillow counts the pixels that are darker, not those that are no brighter, and rounds a step down."""
    pixels = photograph(256)
    theirs = np.asarray(ImageOps.equalize(Image.fromarray(pixels))).astype(int)
    ours = equalised(pixels[None])[0].astype(int)
    commonest = 255 * np.bincount(pixels.ravel()).max() / pixels.size
    assert 2 < np.abs(ours - theirs).max() <= commonest + 2
    assert np.histogram(ours, 16, (0, 256))[0] == pytest.approx(np.full(16, 4096), rel=0.15)


def test_an_image_of_one_value_stays_and_black_bars_leave_the_rest_alone() -> None:
    assert np.array_equal(equalised(np.full((1, 8, 8), 77, np.uint8)), np.full((1, 8, 8), 77))
    pixels = photograph(64)
    pixels[0, 0] = 0  # there is something black in either
    barred = np.pad(pixels, ((0, 0), (30, 30)))
    assert np.array_equal(equalised(barred[None])[0, :, 30:-30], equalised(pixels[None])[0])


def test_brightness_and_contrast_do_not_matter() -> None:
    pixels = photograph(64)
    bent = np.rint(255 * (pixels / 255.0) ** 0.5).astype(np.uint8)  # no two values of 40 to 200 become one
    assert len(np.unique(bent)) < len(np.unique(pixels)) or np.array_equal(
        equalised(bent[None]), equalised(pixels[None])
    )
    assert np.array_equal(equalised((pixels // 2 * 2)[None]), equalised((pixels // 2)[None]))


def decoded(folder: Path, **settings: object) -> np.ndarray:
    (one,) = decode_chunk(
        folder, ["a.png"], DataRecipe(image_size=16, view_policy="keep", burnt_in_text="unchecked", **settings)
    )
    assert one.pixels is not None
    return one.pixels


def test_an_image_is_equalised_as_it_is_kept_after_it_was_resized(tmp_path: Path) -> None:
    Image.fromarray(photograph(40)).save(tmp_path / "a.png")
    plain = decoded(tmp_path)
    assert np.array_equal(decoded(tmp_path, equalise=True), equalised(plain))
    assert not np.array_equal(plain, equalised(plain))
    in_colour = decoded(tmp_path, equalise=True, channels=3)
    assert np.array_equal(in_colour, np.repeat(equalised(plain), 3, axis=0))


def test_text_is_masked_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what is looked through for text is the image as it is, and no letter has a part in the histogram."""
    seen: list[np.ndarray] = []

    def found(pixels: np.ndarray, *, side: int) -> list[Box]:
        seen.append(pixels)
        return [Box(0, 0, 20, 8)]

    monkeypatch.setattr(text_masking, "load_reader", lambda: None)
    monkeypatch.setattr(text_masking, "find_text", found)
    pixels = photograph(40)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    settings = {"image_size": 16, "view_policy": "keep", "burnt_in_text": "mask"}
    plain, even = (
        decode_chunk(tmp_path, ["a.png"], DataRecipe(**settings, equalise=on))[0].pixels for on in (False, True)
    )
    assert plain is not None
    assert even is not None
    assert np.array_equal(seen[0], seen[1])
    assert np.array_equal(even, equalised(plain))


def test_a_corpus_of_equalised_images_is_another_one(phantom_folder: Path, tiny_recipe: Recipe) -> None:
    even = override_recipe(tiny_recipe, ["data.equalise=true"], origin="a test")
    plain, other = prepare(phantom_folder, tiny_recipe), prepare(phantom_folder, even)
    assert plain.content != other.content
    assert np.array_equal(np.asarray(other.images), np.stack([equalised(one) for one in np.asarray(plain.images)]))
    for name in ("splits", "labels", "groups"):
        assert np.array_equal(getattr(plain, name), getattr(other, name))
    assert prepare(phantom_folder, tiny_recipe).content == plain.content


def test_it_is_off_unless_it_is_asked_for() -> None:
    assert not load_recipe("demo").data.equalise
    assert not DataRecipe().equalise
