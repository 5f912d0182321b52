"""The setting method.tiles: off it changes nothing, and what cannot be cut is refused with what can."""

from __future__ import annotations

import hashlib
import json

import pytest

from medistill.errors import RecipeError
from medistill.method_names import method_names
from medistill.recipe import Recipe, load_recipe
from medistill.recipe.method import methods_with


def test_who_has_it() -> None:
    having = methods_with("tiles")
    assert {"dm", "mtt", "unrolled", "bptt"} <= set(having) <= set(method_names())
    assert not {"ddoq", "private-means", "lgm"} & set(having)


@pytest.mark.parametrize("method", ["dm", "mtt", "unrolled", "ddoq"])
def test_off_a_recipe_keeps_the_digest_that_it_had_without_it(method: str) -> None:
    recipe = load_recipe("demo", [f"method.name={method}"])
    settings = recipe.model_dump(mode="json", exclude={"name", "description", "audit", "prune", "exchange"})
    settings["compute"].pop("graphs")
    settings["method"].pop("tiles", None)
    assert recipe.digest == hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    without = Recipe.model_validate(settings)
    assert (without.digest, without.method.tile_factor, without.method.begun) == (recipe.digest, 1, recipe.method.ipc)


def test_on_it_has_another_and_begins_as_many_times_as_many_originals() -> None:
    plain, cut = (load_recipe("covid-xray-dm", [f"method.tiles={tiles}"]) for tiles in (1, 2))
    assert cut.digest != plain.digest
    assert (cut.method.begun, cut.fewest_images) == (4 * plain.method.begun, 4 * plain.fewest_images)
    assert load_recipe("covid-xray-dm", ["method.tiles=4", "method.init=noise"]).fewest_images == 1


def test_a_side_that_it_does_not_divide_is_refused_with_those_that_it_does() -> None:
    with pytest.raises(
        RecipeError,
        match=r"method\.tiles 3 does not divide data\.image_size 32; take one of 1, 2, 4, or 30 or 33 pixels",
    ):
        load_recipe("covid-xray-dm", ["method.tiles=3"])
    assert load_recipe("covid-xray-dm", ["method.tiles=3", "data.image_size=33"]).method.tile_factor == 3


@pytest.mark.parametrize("tiles", ["0", "-1", "5", "1000000", "1.5"])
def test_a_factor_out_of_range_is_refused(tiles: str) -> None:
    with pytest.raises(RecipeError, match=r"method\.tiles"):
        load_recipe("covid-xray-dm", [f"method.tiles={tiles}"])


def test_sets_within_a_set_are_not_of_tiles() -> None:
    nested = ["method.tiles=2", "method.quantise.nested=[1, 5]"]
    with pytest.raises(RecipeError, match=r"leave out method\.quantise\.nested, or set method\.tiles to 1"):
        load_recipe("covid-xray-dm", nested)
    assert load_recipe("covid-xray-dm", [*nested, "method.init=noise"]).method.tile_factor == 2


def test_what_is_whitened_is_not_cut() -> None:
    with pytest.raises(RecipeError, match=r"data\.zca = true mixes all pixels .* set method\.tiles to 1"):
        load_recipe("covid-xray-dm", ["method.tiles=2", "data.zca=true"])
