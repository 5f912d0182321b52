"""Invented hospitals: nobody is at two, the curves are as stated, the bits the same twice, and everything says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medistill.artifacts.corpus import Corpus
from medistill.data.equalise import equalised
from medistill.errors import UsageError
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe
from medistill.recipe.exchange import ExchangeRecipe
from medistill.report.exchange_answer import opening
from medistill.report.exchange_page import exchange_markdown, render_exchange
from medistill.studies.exchange.invented import divided, grey_curve, invented_hospitals, with_invented
from medistill.studies.exchange.study import exchange_study
from tests.factories import exchange_example
from tests.factories.flat_corpus import save_flat

SETTINGS = ("exchange.invented=3", "exchange.invented_exposure=1", "exchange.invented_level=0.1")


def one_site(folder: Path) -> Corpus:
    """96 patients with one to three images each, in two classes and three splits."""
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(96), rng.integers(1, 4, 96))
    images = rng.integers(0, 256, (len(groups), 1, 16, 16)).astype(np.uint8)
    images[0] = 77  # an image of one value
    return save_flat(
        folder,
        images=images,
        labels=groups % 2,
        groups=groups,
        splits=groups // 2 % 4 % 3,
        views=["PA"] * len(groups),
        class_names=("COVID", "Normal"),
        site_names=("raddb",),
        split_source="given",
        synthetic=False,
        notes=("Read once.",),
    )


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("exchange-encoded", list(SETTINGS))


def test_nobody_is_at_two_and_every_class_and_split_is_dealt_out_evenly(tmp_path: Path, recipe: Recipe) -> None:
    corpus = one_site(tmp_path)
    found = with_invented(corpus, recipe, Silent())
    at = {int(group): set(found.sites[found.groups == group].tolist()) for group in found.groups}
    assert {len(places) for places in at.values()} == {1}
    first = {group: int(np.flatnonzero(corpus.groups == group)[0]) for group in at}
    for split in range(3):
        for label in range(2):
            counts = [0, 0, 0]
            for group, [place] in at.items():
                counts[place] += (corpus.splits[first[group]], corpus.labels[first[group]]) == (split, label)
            assert max(counts) - min(counts) <= 1
            assert min(counts) > 0
    sizes = np.bincount([place for [place] in at.values()])
    assert max(sizes) - min(sizes) <= 1
    for column in ("labels", "groups", "splits"):
        np.testing.assert_array_equal(getattr(found, column), getattr(corpus, column))


def test_grey_values_are_those_of_the_stated_curves_pixel_by_pixel(tmp_path: Path, recipe: Recipe) -> None:
    corpus = one_site(tmp_path)
    found = with_invented(corpus, recipe, Silent())
    for row, (before, after) in enumerate(zip(corpus.images, found.images, strict=True)):
        grey = before.astype(np.float64) / 255
        if found.sites[row] == 2:
            expected = equalised(before)
        else:
            gamma, level = ((0.5, 0.1), (2.0, -0.1))[found.sites[row]]
            expected = (255 * np.minimum(np.maximum(grey**gamma + level, 0), 1)).round().astype(np.uint8)
        np.testing.assert_array_equal(after, expected)
    assert isinstance(found.images, np.memmap)
    assert not list((found.path.parent).glob(".invented-*"))


def test_curves_are_even_steps_in_stops_and_those_in_between_stay_as_they_are() -> None:
    middle = invented_hospitals(ExchangeRecipe(invented=4))[1]
    assert (middle.gamma, middle.level, middle.equalised) == (1, 0, False)
    np.testing.assert_array_equal(grey_curve(middle), np.arange(256))
    spread = invented_hospitals(
        ExchangeRecipe(invented=5, invented_exposure=2, invented_level=0.2, invented_equalised=0)
    )
    assert [one.gamma for one in spread] == [0.25, 0.5, 1, 2, 4]
    assert [one.level for one in spread] == pytest.approx([0.2, 0.1, 0, -0.1, -0.2])
    even = invented_hospitals(ExchangeRecipe(invented=2, invented_equalised=2))
    assert all(one.equalised for one in even)
    assert invented_hospitals(ExchangeRecipe()) == ()


def test_the_same_bits_come_twice_and_others_with_another_seed(tmp_path: Path, recipe: Recipe) -> None:
    corpus = one_site(tmp_path)
    one, two = (with_invented(corpus, recipe, Silent()) for _ in range(2))
    assert (one.content, one.pixels) == (two.content, two.pixels)
    np.testing.assert_array_equal(one.images, two.images)
    other = with_invented(corpus, recipe.model_copy(update={"seed": recipe.seed + 1}), Silent())
    assert other.content != one.content
    assert (divided(corpus, 3, 0) != divided(corpus, 3, 1)).any()
    assert with_invented(corpus, load_recipe("exchange-encoded"), Silent()) is corpus


def test_every_place_where_they_are_named_says_that_they_are_invented(tmp_path: Path, recipe: Recipe) -> None:
    found = with_invented(one_site(tmp_path), recipe, Silent())
    assert all(name.startswith("invented hospital ") for name in found.site_names)
    assert found.notes[0] == "Read once."
    assert "The hospitals are invented: " in found.notes[1]
    hospitals = invented_hospitals(recipe.exchange)
    study = replace(exchange_example.study(), invented=hospitals)
    said = opening(study)
    assert said.startswith(found.notes[1])
    assert "invented hospital 1 (grey to the power 0.50, then +0.10 of full scale)" in said
    assert "invented hospital 3 (every histogram equalised)" in said
    page, brief = render_exchange(study), exchange_markdown(study)
    assert "The hospitals are invented: " in page
    assert "invented hospitals that exchange distilled sets" in page
    assert "The hospitals are invented: " in brief
    assert [one["name"] for one in study.as_json()["invented"]] == list(found.site_names)
    assert "invented" not in opening(exchange_example.study())


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (["exchange.invented=1"], "two hospitals at least"),
        (["exchange.invented=2", "exchange.invented_equalised=3"], "no more equalise than there are"),
    ],
)
def test_what_cannot_be_invented_is_refused_before_anything_is_read(
    settings: list[str], why: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=why):
        exchange_study(tmp_path / "none", load_recipe("exchange-encoded", settings), out=tmp_path / "study")
    private = load_recipe("covid-xray-private", ["exchange.invented=2"])
    with pytest.raises(UsageError, match="under differential privacy"):
        exchange_study(tmp_path / "none", private, out=tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_hospitals_are_invented_of_one_site_alone(tmp_path: Path, recipe: Recipe) -> None:
    corpus = one_site(tmp_path)
    two = replace(corpus, site_names=("nih", "raddb"))
    with pytest.raises(UsageError, match=r"the corpus has nih, raddb.*name one with --sites"):
        with_invented(two, recipe, Silent())


def test_the_bright_one_is_brighter_and_the_dark_one_darker(recipe: Recipe) -> None:
    """Against Pillow's own lookup."""
    bright, dark, _ = invented_hospitals(recipe.exchange)
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for one, sign in ((bright, 1), (dark, -1)):
        shown = np.asarray(Image.fromarray(ramp).point(grey_curve(one).tolist()))
        np.testing.assert_array_equal(shown, grey_curve(one)[ramp])
        assert sign * (shown.astype(int) - ramp).sum() > 0
