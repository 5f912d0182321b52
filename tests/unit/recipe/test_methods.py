"""Methods by name: what each sets, what a recipe may add to it, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from medistill.errors import RecipeError, UsageError
from medistill.recipe import (
    METHODS,
    QUANTISING,
    Method,
    Recipe,
    load_recipe,
    recipe_differences,
    recipe_names,
    recipe_toml,
    refuse_another_recipe,
    validate_recipe,
)

PROMISED: dict[str, dict[str, Any]] = {
    "iadd": {"importance.direction": "descent"},
    "mtt": {},
    "pp": {"importance.mask": "unlike"},
    "ftd": {"experts.sharpness": 0.01, "experts.surrogate_gap": 1.0},
    "satm": {"distill.sharpness": 0.05},
    "pdd": {"distill.stages": 5},
    "datm": {"distill.labels": "soft", "distill.start_growth": 0.5},
    "ddoq": {"distill.init": "quantised", "distill.labels": "soft", "quantise.weights": "mass"},
    "d4m": {"distill.init": "quantised", "distill.labels": "soft", "quantise.weights": "uniform"},
}
"""What sets each method apart from plain MTT."""
PLAIN = {
    "importance.direction": "frozen",
    "importance.mask": "none",
    "experts.sharpness": 0.0,
    "experts.surrogate_gap": 0.0,
    "distill.sharpness": 0.0,
    "distill.stages": 1,
    "distill.labels": "hard",
    "distill.start_growth": 0.0,
}


OPEN = ("distill.labels", "distill.start_growth", "importance.mask")
"""What IADD leaves to a recipe."""
BESIDE = ("distill.init", "quantise.weights")
"""Settings that the quantising methods promise, and that a recipe for another method may choose."""


def values(recipe: Recipe) -> dict[str, Any]:
    """The settings that tell methods apart, by section.key."""
    return {key: getattr(getattr(recipe, key.split(".")[0]), key.split(".")[1]) for key in (*PLAIN, *BESIDE)}


def promised(method: str, stated: Recipe) -> dict[str, Any]:
    """What they are to be under a method, where the recipe states the rest."""
    return {**values(stated), **PLAIN, **PROMISED[method]}


def test_every_method_has_its_settings() -> None:
    assert set(METHODS) == set(get_args(Method)) == set(PROMISED)
    assert len({load_recipe("demo", [f"method={method}"]).digest for method in PROMISED}) == len(PROMISED)


@pytest.mark.parametrize("method", PROMISED)
@pytest.mark.parametrize("name", recipe_names())
def test_each_method_loads_on_each_recipe_or_says_what_to_set(name: str, method: str, tmp_path: Path) -> None:
    plain = load_recipe(name)
    if PROMISED[method].get("distill.stages", 1) > plain.distill.ipc:
        with pytest.raises(RecipeError, match=rf"distill\.stages 5 .* {plain.distill.ipc} \(distill\.ipc\)"):
            load_recipe(name, [f"method={method}"])
        return
    if plain.privacy.mode == "dp" and PROMISED[method].get("experts.sharpness"):
        with pytest.raises(RecipeError, match="use each patient twice an update"):
            load_recipe(name, [f"method={method}"])
        return
    if plain.privacy.mode == "dp" and method in QUANTISING:
        with pytest.raises(RecipeError, match=f"method {method} averages patients' images without noise") as refused:
            load_recipe(name, [f"method={method}"])
        assert "distill.init" not in str(refused.value)  # which such a method does not leave to choose
        return
    recipe = load_recipe(name, [f"method={method}"])
    assert recipe.method == method
    own = plain.method == method == "iadd"  # whose recipe may add what the method leaves open
    assert values(recipe) == values(plain) if own else promised(method, load_recipe(name, ["method=mtt"]))
    assert recipe.distill.ema == (0.999 if method == "ftd" else plain.distill.ema)
    (tmp_path / "r.toml").write_text(recipe_toml(recipe), encoding="utf-8")
    again = load_recipe(tmp_path / "r.toml")
    assert (again, again.digest) == (recipe, recipe.digest)


@pytest.mark.parametrize("method", PROMISED)
def test_a_file_that_names_a_method_gets_its_settings(method: str, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(f'method = "{method}"\n[distill]\niterations = 7\n', encoding="utf-8")
    recipe = load_recipe(tmp_path / "r.toml")
    assert values(recipe) == promised(method, Recipe())
    assert recipe.distill.iterations == 7
    assert recipe == load_recipe(tmp_path / "r.toml", [f"method={method}"])


def test_a_file_may_choose_the_value_of_what_its_method_turns_on(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('method = "ftd"\n[experts]\nsharpness = 0.3\n', encoding="utf-8")
    recipe = load_recipe(tmp_path / "r.toml")
    assert (recipe.experts.sharpness, recipe.experts.surrogate_gap, recipe.distill.ema) == (0.3, 1.0, 0.999)
    assert load_recipe(tmp_path / "r.toml", ["method=ftd"]).experts.sharpness == 0.01, "a later word counts"


def test_from_one_method_to_another_nothing_of_the_first_is_left() -> None:
    for first in PROMISED:
        recipe = load_recipe("demo", [f"method={first}", "method=satm"])
        assert {**values(recipe), **PLAIN, **PROMISED["satm"]} == values(recipe), first


@pytest.mark.parametrize("key", OPEN)
def test_what_iadd_leaves_open_a_recipe_of_it_keeps_and_another_method_takes_away(key: str) -> None:
    (other,) = {value for method in PROMISED for name, value in PROMISED[method].items() if name == key}
    chosen = load_recipe("demo", [f"{key}={other}", "method=iadd"])
    assert values(chosen)[key] == other
    assert values(load_recipe("demo", [f"{key}={other}", "method=mtt"]))[key] == PLAIN[key]
    assert values(load_recipe("demo", ["method=datm", "method=iadd"]))[key] == PLAIN[key]


@pytest.mark.parametrize("key", PLAIN)
def test_what_a_method_leaves_off_is_refused_by_name(key: str) -> None:
    (other,) = {value for method in PROMISED for name, value in PROMISED[method].items() if name == key}
    for method, turned_on in PROMISED.items():
        if key in turned_on or (method == "iadd" and key in OPEN):
            continue
        with pytest.raises(RecipeError, match=rf"method {method} leaves off what is set here: {re.escape(key)} = "):
            load_recipe("demo", [f"method={method}", f"{key}={other}"])


@pytest.mark.parametrize("method", ["nothing", "MTT", "", 3, ["ftd"], {"name": "ftd"}])
def test_a_method_that_there_is_not_is_refused_with_those_there_are(method: object) -> None:
    with pytest.raises(RecipeError, match="method = ") as caught:
        validate_recipe({"method": method}, "test")
    assert all(f"'{name}'" in caught.value.expected for name in METHODS)


@pytest.mark.parametrize("section", [3, "words", [1]])
def test_a_section_that_is_none_is_refused_whatever_the_method(section: object) -> None:
    with pytest.raises(RecipeError, match="experts"):
        validate_recipe({"method": "ftd", "experts": section}, "test")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["distill.min_start_epoch=3", "distill.max_start_epoch=3"],
            r"min_start_epoch 3 is not below distill\.max_start_epoch 3",
        ),
        (["distill.min_start_epoch=9", "distill.max_start_epoch=4"], r"min_start_epoch 9 .*max_start_epoch 4"),
        (["distill.min_start_epoch=-1"], r"distill\.min_start_epoch = -1"),
        (["method=pdd", "distill.ipc=4"], r"distill\.stages 5 .* 4 \(distill\.ipc\)"),
        (["method=pdd", "distill.min_start_epoch=8", "distill.max_start_epoch=12"], r"distill\.stages 5 .* 4 and 200"),
        (["method=pdd", "distill.stages=0"], r"distill\.stages = 0"),
        (["distill.start_growth=1"], r"distill\.start_growth = 1"),
    ],
)
def test_stages_and_start_epochs_that_do_not_fit_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("demo", overrides)
    assert re.search(said, caught.value.seen)


def test_the_edges_of_stages_and_start_epochs_are_taken() -> None:
    recipe = load_recipe("demo", ["method=pdd", "distill.min_start_epoch=7", "distill.max_start_epoch=12"])
    assert (recipe.distill.stages, recipe.distill.ipc) == (5, 5)
    assert load_recipe("demo", ["distill.min_start_epoch=2", "distill.max_start_epoch=3"]).distill.min_start_epoch == 2


def test_another_method_for_a_run_is_refused_with_every_setting_that_differs(tmp_path: Path) -> None:
    mine, stored = load_recipe("demo", ["method=satm"]), load_recipe("demo")
    with pytest.raises(UsageError) as caught:
        refuse_another_recipe(mine, stored, tmp_path / "run")
    assert str(tmp_path / "run") in caught.value.seen
    for difference in ("method: 'satm', not 'iadd'", "distill.sharpness: 0.05, not 0.0", "importance.direction"):
        assert difference in caught.value.seen
    refuse_another_recipe(mine, load_recipe("demo", ["method=satm", "name=renamed"]), tmp_path)


QUANTISED_FROM = {
    "covid-xray-ddoq": ("ddoq", "covid-xray-cpu"),
    "covid-xray-d4m": ("d4m", "covid-xray-cpu"),
    "demo-ddoq": ("ddoq", "demo"),
    "cifar10-ddoq": ("ddoq", "cifar10-ipc10"),
}
"""Recipe -> its method, and the recipe of trajectory matching whose figures it stands beside."""


def test_every_recipe_that_quantises_has_a_neighbour() -> None:
    assert {name for name in recipe_names() if load_recipe(name).method in QUANTISING} == set(QUANTISED_FROM)


@pytest.mark.parametrize("name", QUANTISED_FROM)
def test_a_recipe_that_quantises_differs_from_its_neighbour_by_the_method_alone(name: str) -> None:
    method, neighbour = QUANTISED_FROM[name]
    mine, theirs = load_recipe(name), load_recipe(neighbour, [f"method={method}"])
    assert mine.method == method
    for section in ("data", "network", "augmentation", "evaluate", "audit", "compute", "privacy"):
        assert getattr(mine, section) == getattr(theirs, section), section
    assert mine.distill.ipc == theirs.distill.ipc
    assert load_recipe(name, ["method=mtt"]).distill.init == "real", "its file leaves the start to the method"


def test_the_baseline_differs_by_its_weights_alone() -> None:
    assert recipe_differences(load_recipe("covid-xray-d4m"), load_recipe("covid-xray-ddoq")) == [
        "method: 'd4m', not 'ddoq'",
        "quantise.weights: 'uniform', not 'mass'",
    ]


@pytest.mark.parametrize("method", QUANTISING)
def test_a_method_that_quantises_starts_from_nothing_else(method: str) -> None:
    for init in ("real", "noise"):
        with pytest.raises(RecipeError, match=rf"method {method} makes images of centroids .* distill\.init is {init}"):
            load_recipe("demo", [f"method={method}", f"distill.init={init}"])
    assert load_recipe("demo", [f"method={method}", "distill.labels=hard"]).distill.labels == "hard"
    assert load_recipe("demo", ["distill.init=quantised"]).method == "iadd", "trajectory matching may start from them"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["quantise.nested=10,1"], r"quantise\.nested \[10, 1\] does not ascend"),
        (["quantise.nested=5,5"], r"quantise\.nested \[5, 5\] does not ascend"),
        (["quantise.nested=0,5"], r"quantise\.nested"),
        (["quantise.encoder=brought"], "--decoder FOLDER sets them both"),
        ([f"quantise.decoder={'0' * 64}"], "--decoder FOLDER sets them both"),
        ([f"quantise.decoder={'0' * 63}"], r"quantise\.decoder"),
        (["quantise.decoder=/home/somebody/decoder"], r"quantise\.decoder"),
        (
            ["quantise.encoder=autoencoder", "autoencoder.levels=4", "data.image_size=28"],
            r"autoencoder\.levels 4 halves",
        ),
        (["quantise.components=-1"], r"quantise\.components = -1"),
        (["quantise.min_cluster_size=0"], r"quantise\.min_cluster_size = 0"),
        (["quantise.temperature=0"], r"quantise\.temperature = 0"),
        (["quantise.weights=equal"], r"quantise\.weights = 'equal'"),
    ],
)
def test_settings_of_a_quantisation_that_do_not_fit_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("demo-ddoq", overrides)
    assert re.search(said, f"{caught.value.seen} {caught.value.expected}")
