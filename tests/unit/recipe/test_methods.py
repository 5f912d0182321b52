"""Methods by name: what each sets, which settings it has, and what is refused."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medistill.errors import RecipeError, UsageError
from medistill.method_names import method_names, method_summary
from medistill.methods.registry import facts_of, find_method, recipe_facts, sections_facts
from medistill.recipe import (
    MatchingRecipe,
    Recipe,
    load_recipe,
    recipe_differences,
    recipe_names,
    recipe_toml,
    refuse_another_recipe,
    validate_recipe,
)
from medistill.recipe.load import sections_of
from medistill.recipe.method import field_of, settings_kind
from medistill.recipe.outer_loop import OuterLoopRecipe
from medistill_cli.main import app

MORE_SIZES = re.compile(r"cifar10-.+-ipc(1|50)")
"""Recipes of one method for CIFAR-10 that differ from those for 10 images a class in numbers alone."""
OURS = {"image_lr": 0.02, "labels": "hard", "label_lr": 0.02, "student_lr": 0.01, "student_lr_lr": 0.003}
"""What an unrolled method begins with that has no published settings."""
BY_ADAM = {
    "student_steps": 200, "inner": "adam", "student_lr": 0.001, "student_lr_lr": 0.0, "image_lr": 0.001,
    "labels": "hard", "label_lr": 0.001, "decay": False, "batch_real": 500, "noise_norm": 1.0,
}  # fmt: skip
"""What RaT-BPTT published for CIFAR-10 at 10 images a class, but for the window."""
PROMISED: dict[str, dict[str, Any]] = {
    "iadd": {"importance.direction": "descent"},
    "mtt": {},
    "pp": {"mask.rule": "unlike"},
    "ftd": {"experts.sharpness": 0.01, "experts.surrogate_gap": 1.0, "ema": 0.999},
    "satm": {"sharpness": 0.05},
    "pdd": {"stages": 5},
    "datm": {"labels": "soft", "start_growth": 0.5},
    "ddoq": {"labels": "soft", "quantise.weights": "mass"},
    "d4m": {"labels": "soft", "quantise.weights": "uniform"},
    "diffusion-patches": {"patches": 2, "labels": "soft"},
    "hop-tm": {"kept.threshold": 1e-10, "shape": 1.0},
    "att": {"closest": "l1"},
    "pad": {
        "labels": "soft",
        "start_growth": 0.5,
        "depth": 0.5,
        "selection.start_share": 0.75,
        "selection.drop_first": 0.1,
        "selection.drop_last": 0.2,
    },
    "dm": {"image_lr": 1.0},
    "idm": {"image_lr": 0.2, "tiles": 2},
    "m3d": {"image_lr": 100.0, "tiles": 2},
    "dance": {"image_lr": 1.6, "tiles": 2},
    "ncfm": {"image_lr": 0.004, "momentum": 0.9, "batch_real": 1024, "tiles": 2},
    "glad": {"layer": "code", "image_lr": 1.0},
    "h-glad": {"layers": (), "image_lr": 1.0},
    "dc": {"image_lr": 0.1, "augment": False, "distance": "cosine"},
    "dsa": {"image_lr": 0.1, "augment": True, "distance": "cosine"},
    "dcc": {"image_lr": 0.1, "augment": False, "distance": "cosine"},
    "doscond": {"image_lr": 0.1, "augment": False, "distance": "cosine"},
    "idc": {"image_lr": 0.005, "augment": True, "distance": "squared", "tiles": 2},
    "frepo": {"image_lr": 3e-4, "momentum": 0.9, "batch_real": 102, "label_lr": 3e-4, "ridge": 1e-6},
    "krr-st": {"image_lr": 1e-3, "momentum": 0.9, "batch_real": 102, "label_lr": 1e-3, "ridge": 1e-6, "teacher": ""},
    "private-means": {
        "ipc": 1,
        "iterations": 300,
        "image_lr": 0.05,
        "smoothness": 0.01,
        "jitter": 0.0,
        "validate_every": 50,
    },
    "encoded-ddoq": {"image_lr": 0.03, "iterations": 100, "validate_every": 50, "quantise.weights": "mass"},
    "encoded-moments": {"image_lr": 0.03, "iterations": 100, "validate_every": 50},
    "lgm": {"image_lr": 0.03, "iterations": 200, "validate_every": 50, "unlocked": 0.3},
    "clp-dd": {"image_lr": 0.03, "iterations": 100, "validate_every": 50},
    "unrolled": {
        **OURS,
        "student_steps": 200,
        "window": 15,
        "pool": 8,
        "augment_real": False,
        "image_lr": 0.01,
        "ema": 0.98,
        "labels": "soft",
        "label_lr": 0.01,
    },
    "bptt": OURS,
    "rat-bptt": {**BY_ADAM, "window": 60},
    "at-bptt": {**BY_ADAM, "window": 40, "window_spread": 10, "steep_until": 0.33, "uniform_until": 0.67},
}
"""What sets each method apart from plain MTT."""
QUANTISING = ("ddoq", "d4m")
FAMILY = [name for name in PROMISED if issubclass(settings_kind(name), MatchingRecipe)]
"""Those that match trajectories."""
PLAIN = {
    "importance.direction": "frozen",
    "mask.rule": "none",
    "experts.sharpness": 0.0,
    "experts.surrogate_gap": 0.0,
    "sharpness": 0.0,
    "stages": 1,
    "labels": "hard",
    "start_growth": 0.0,
    "kept.threshold": 0.0,
    "shape": 0.0,
    "closest": "off",
    "depth": 0.0,
}
"""The same settings as the engine is told them under a method that has none of them."""
OPEN = ("labels", "start_growth", "mask.rule")
"""What IADD leaves to a recipe."""


def value(section: Any, path: str) -> Any:
    """A setting of a method, at its dotted path."""
    for part in path.split("."):
        section = getattr(section, part)
    return section


def values(recipe: Recipe) -> dict[str, Any]:
    """The settings that tell the methods of trajectory matching apart, as the engine is told them."""
    assert isinstance(recipe.method, MatchingRecipe)
    return {path: value(recipe.method.whole, path) for path in PLAIN}


def promised(method: str, *, alone: bool = False) -> dict[str, Any]:
    """The settings that tell methods apart, as a method has them; ``alone`` those that are its own."""
    own = PROMISED[method]
    return {path: own.get(path, PLAIN[path]) for path in PLAIN if path in own or not alone}


def test_every_method_has_its_settings() -> None:
    assert set(method_names()) == set(PROMISED)
    assert len({load_recipe("demo", [f"method.name={method}"]).digest for method in PROMISED}) == len(PROMISED)
    for method in PROMISED:
        assert method_summary(method), method
        assert settings_kind(method)().name == method
        assert set(PROMISED[method]) == set(settings_kind(method).OWN), method


@pytest.mark.parametrize("method", PROMISED)
@pytest.mark.parametrize("name", [name for name in recipe_names() if not MORE_SIZES.fullmatch(name)])
def test_each_method_loads_on_each_recipe_or_says_what_to_set(name: str, method: str, tmp_path: Path) -> None:
    plain = load_recipe(name)
    change = [f"method.name={method}"]
    if plain.method.one_release and method in FAMILY:
        with pytest.raises(RecipeError, match=r"set method\.init = noise"):
            load_recipe(name, change)
        return
    if PROMISED[method].get("stages", 1) > plain.method.ipc:
        with pytest.raises(RecipeError, match=rf"method\.stages 5 .* {plain.method.ipc} \(method\.ipc\)"):
            load_recipe(name, change)
        return
    if plain.data.zca and settings_kind(method)().holds_grey:
        with pytest.raises(RecipeError, match=rf"method\.name = {method} holds each pixel's grey value .* \(dsa\)"):
            load_recipe(name, change)
        return
    if plain.data.zca and PROMISED[method].get("tiles"):
        with pytest.raises(
            RecipeError, match=r"data\.zca = true mixes all pixels of an image, which method\.tiles cuts"
        ):
            load_recipe(name, change)
        return
    if plain.network.name == "probe" and settings_kind(method)().compares_features:
        with pytest.raises(RecipeError, match=rf"method\.name = {method} compares the features of networks that begin"):
            load_recipe(name, change)
        return
    if plain.privacy.mode == "dp" and PROMISED[method].get("experts.sharpness"):
        with pytest.raises(RecipeError, match="use each patient twice an update"):
            load_recipe(name, change)
        return
    if plain.privacy.mode == "dp" and PROMISED[method].get("selection.drop_first"):
        with pytest.raises(RecipeError, match="how difficult a patient is see every patient without noise"):
            load_recipe(name, change)
        return
    if plain.privacy.mode == "dp" and method not in FAMILY and not settings_kind(method)().one_release:
        with pytest.raises(RecipeError, match=f"method {method} .* patients' images without noise") as refused:
            load_recipe(name, change)
        assert "method.init" not in str(refused.value)  # which would not help
        return
    recipe = load_recipe(name, change)
    assert recipe.method.name == method
    for path, promise in PROMISED[method].items():
        assert value(recipe.method, path) == promise
    if method in FAMILY:
        own = plain.method.name == method  # whose recipe may add what the method leaves open
        assert values(recipe) == {**(values(plain) if own else {}), **promised(method, alone=own)}
    (tmp_path / "r.toml").write_text(recipe_toml(recipe), encoding="utf-8")
    again = load_recipe(tmp_path / "r.toml")
    assert (again, again.digest) == (recipe, recipe.digest)


@pytest.mark.parametrize("method", FAMILY)
def test_a_file_that_names_a_method_gets_its_settings(method: str, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(f'[method]\nname = "{method}"\niterations = 7\n', encoding="utf-8")
    recipe = load_recipe(tmp_path / "r.toml")
    assert values(recipe) == promised(method)
    assert recipe.method.outer_steps == 7
    assert recipe == load_recipe(tmp_path / "r.toml", [f"method.name={method}"])


def test_a_file_may_choose_the_value_of_what_its_method_turns_on(tmp_path: Path) -> None:
    text = '[method]\nname = "ftd"\n[method.experts]\nsharpness = 0.3\nepochs = 30\n'
    (tmp_path / "r.toml").write_text(text, encoding="utf-8")
    method = load_recipe(tmp_path / "r.toml").method
    found = (value(method, "experts.sharpness"), value(method, "experts.surrogate_gap"), value(method, "ema"))
    assert found == (0.3, 1.0, 0.999)
    again = load_recipe(tmp_path / "r.toml", ["method.name=ftd"]).method
    assert value(again, "experts.sharpness") == 0.01, "a later word counts"
    assert value(again, "experts.epochs") == 30


def test_from_one_method_to_another_nothing_of_the_first_is_left() -> None:
    for first in PROMISED:
        recipe = load_recipe("demo", [f"method.name={first}", "method.name=satm"])
        assert values(recipe) == promised("satm"), first
        assert value(recipe.method, "ema") == 0.0, first


def test_from_one_method_to_another_what_both_have_stays() -> None:
    changed = {"ipc": 7, "quantise.refine": 9, "autoencoder.epochs": 3}
    has = {name: {key for key in changed if field_of(settings_kind(name), key) is not None} for name in PROMISED}
    assert sum(has[name] == set(changed) for name in PROMISED) > 10
    for first in PROMISED:
        for second in PROMISED:
            own = [f"method.{key}={changed[key]}" for key in has[first]]
            method = load_recipe("demo", [f"method.name={first}", *own, f"method.name={second}"]).method
            for key in has[first] & has[second] - {*settings_kind(first).OWN, *settings_kind(second).OWN}:
                assert value(method, key) == changed[key], (first, second, key)


@pytest.mark.parametrize("key", OPEN)
def test_what_iadd_leaves_open_a_recipe_of_it_keeps_and_another_method_takes_away(key: str) -> None:
    (other,) = {PROMISED[method][key] for method in FAMILY if key in PROMISED[method]}
    chosen = load_recipe("demo", [f"method.{key}={other}", "method.name=iadd"])
    assert values(chosen)[key] == other
    assert values(load_recipe("demo", [f"method.{key}={other}", "method.name=mtt"]))[key] == PLAIN[key]
    assert values(load_recipe("demo", ["method.name=datm", "method.name=iadd"]))[key] == PLAIN[key]


@pytest.mark.parametrize("key", PLAIN)
def test_what_a_method_does_not_have_is_refused_with_those_that_do(key: str) -> None:
    (other,) = {PROMISED[method][key] for method in PROMISED if key in PROMISED[method] and method in FAMILY}
    having = [name for name in method_names() if field_of(settings_kind(name), key) is not None]
    for method in PROMISED:
        if method in having:
            continue
        with pytest.raises(RecipeError) as refused:
            load_recipe("demo", [f"method.name={method}", f"method.{key}={other}"])
        assert f"method.{key} is a setting of {', '.join(having)}; {method} has none" in refused.value.seen
    assert set(having) < set(PROMISED)


def test_a_misspelt_setting_of_another_method_is_named_with_that_method() -> None:
    with pytest.raises(
        RecipeError,
        match=r"no setting 'method\.stage': did you mean 'method\.stages'.*stages' is one of at-bptt, bptt, pdd,",
    ):
        load_recipe("demo", ["method.stage=2"])


@pytest.mark.parametrize("command", ["recipes show demo --method ddoq"])
def test_what_a_refusal_says_to_run_can_be_run(command: str) -> None:
    with pytest.raises(RecipeError, match=f"`medistill {command}`"):
        load_recipe("demo", ["method.name=ddoq", "method.iterations=4"])
    shown = CliRunner().invoke(app, command.split())
    assert shown.exit_code == 0, shown.stderr
    assert tomllib.loads(shown.stdout)["method"]["name"] == "ddoq"


@pytest.mark.parametrize("method", ["nothing", "MTT", "", 3, ["ftd"], {"name": "ftd"}, "base", "registry", "matching"])
def test_a_method_that_there_is_not_is_refused_with_those_there_are(method: object) -> None:
    with pytest.raises(RecipeError, match=r"method\.name = ") as caught:
        validate_recipe({"method": {"name": method}}, "test")
    assert all(f"'{name}'" in caught.value.expected for name in PROMISED)


@pytest.mark.parametrize("section", [3, "words", [1]])
def test_a_section_that_is_none_is_refused_whatever_the_method(section: object) -> None:
    with pytest.raises(RecipeError, match=r"method\.experts"):
        validate_recipe({"method": {"name": "ftd", "experts": section}}, "test")
    with pytest.raises(RecipeError, match="method"):
        validate_recipe({"method": section}, "test")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["method.min_start_epoch=3", "method.max_start_epoch=3"],
            r"min_start_epoch 3 is not below method\.max_start_epoch 3",
        ),
        (["method.min_start_epoch=9", "method.max_start_epoch=4"], r"min_start_epoch 9 .*max_start_epoch 4"),
        (["method.min_start_epoch=-1"], r"method\.min_start_epoch = -1"),
        (["method.name=pdd", "method.ipc=4"], r"method\.stages 5 .* 4 \(method\.ipc\)"),
        (
            ["method.name=pdd", "method.min_start_epoch=8", "method.max_start_epoch=12"],
            r"method\.stages 5 .* 4 and 200",
        ),
        (["method.name=pdd", "method.stages=0"], r"method\.stages = 0"),
        (["method.start_growth=1"], r"method\.start_growth = 1"),
    ],
)
def test_stages_and_start_epochs_that_do_not_fit_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("demo", overrides)
    assert re.search(said, caught.value.seen)


def test_the_edges_of_stages_and_start_epochs_are_taken() -> None:
    edge = ["method.name=pdd", "method.min_start_epoch=7", "method.max_start_epoch=12"]
    method = load_recipe("demo", edge).method
    assert (method.stage_count, method.ipc) == (5, 5)
    last = load_recipe("demo", ["method.min_start_epoch=2", "method.max_start_epoch=3"]).method
    assert value(last, "min_start_epoch") == 2


def test_another_method_for_a_run_is_refused_with_every_setting_that_differs(tmp_path: Path) -> None:
    mine, stored = load_recipe("demo", ["method.name=satm"]), load_recipe("demo")
    with pytest.raises(UsageError) as caught:
        refuse_another_recipe(mine, stored, tmp_path / "run")
    assert str(tmp_path / "run") in caught.value.seen
    for difference in ("method.name: 'satm', not 'iadd'", "method.sharpness: 0.05, not none", "importance.direction"):
        assert difference in caught.value.seen
    refuse_another_recipe(mine, load_recipe("demo", ["method.name=satm", "name=renamed"]), tmp_path)


QUANTISED_FROM = {
    "covid-xray-ddoq": ("ddoq", "covid-xray-cpu"),
    "covid-xray-d4m": ("d4m", "covid-xray-cpu"),
    "demo-ddoq": ("ddoq", "demo"),
    "cifar10-ddoq": ("ddoq", "cifar10-ipc10"),
}
"""Recipe -> its method, and the recipe of trajectory matching whose figures it stands beside."""


def test_every_recipe_that_quantises_has_a_neighbour() -> None:
    assert {name for name in recipe_names() if recipe_facts(load_recipe(name)).centroids} == set(QUANTISED_FROM)


@pytest.mark.parametrize("name", QUANTISED_FROM)
def test_a_recipe_that_quantises_differs_from_its_neighbour_by_the_method_alone(name: str) -> None:
    method, neighbour = QUANTISED_FROM[name]
    mine, theirs = load_recipe(name), load_recipe(neighbour, [f"method.name={method}"])
    assert mine.method.name == method
    for section in ("data", "network", "augmentation", "evaluate", "audit", "compute", "privacy"):
        assert getattr(mine, section) == getattr(theirs, section), section
    assert mine.method.ipc == theirs.method.ipc
    assert load_recipe(name, ["method.name=mtt"]).method.starts_from == "real"


@pytest.mark.parametrize("ipc", [1, 10, 50])
def test_a_recipe_of_the_unrolled_loss_differs_from_its_neighbour_by_the_method_alone(ipc: int) -> None:
    mine, theirs = load_recipe(f"cifar10-unrolled-ipc{ipc}"), load_recipe(f"cifar10-ipc{ipc}", ["method.name=rat-bptt"])
    for section in ("data", "network", "augmentation", "evaluate", "schedule", "audit", "compute", "privacy"):
        assert getattr(mine, section) == getattr(theirs, section), section
    assert mine.method == theirs.method.model_copy(update={"batch_syn": 100 if ipc == 50 else 0})
    assert mine.method.starts_from == "noise"


def test_the_baseline_differs_by_its_weights_alone() -> None:
    assert recipe_differences(load_recipe("covid-xray-d4m"), load_recipe("covid-xray-ddoq")) == [
        "method.name: 'd4m', not 'ddoq'",
        "method.quantise.weights: 'uniform', not 'mass'",
    ]


@pytest.mark.parametrize("method", QUANTISING)
def test_a_method_that_quantises_starts_from_nothing_else(method: str) -> None:
    for init in ("real", "noise"):
        with pytest.raises(RecipeError, match=rf"method\.init is a setting of .*iadd.*; {method} has none"):
            load_recipe("demo", [f"method.name={method}", f"method.init={init}"])
    hard = load_recipe("demo", [f"method.name={method}", "method.labels=hard"]).method
    assert (hard.learns_labels, hard.starts_from) == (False, "quantised")
    begun = load_recipe("demo", ["method.init=quantised"]).method
    assert begun.name == "iadd", "trajectory matching may start from them"
    assert begun.quantisation is not None


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["method.quantise.nested=10,1"], r"quantise\.nested \[10, 1\] does not ascend"),
        (["method.quantise.nested=5,5"], r"quantise\.nested \[5, 5\] does not ascend"),
        (["method.quantise.nested=0,5"], r"quantise\.nested"),
        (["method.quantise.encoder=brought"], "--decoder FOLDER sets them both"),
        ([f"method.quantise.decoder={'0' * 64}"], "--decoder FOLDER sets them both"),
        ([f"method.quantise.decoder={'0' * 63}"], r"quantise\.decoder"),
        (["method.quantise.decoder=/home/somebody/decoder"], r"quantise\.decoder"),
        (
            ["method.quantise.encoder=autoencoder", "method.autoencoder.levels=4", "data.image_size=28"],
            r"autoencoder\.levels 4 halves",
        ),
        (["method.quantise.components=-1"], r"quantise\.components = -1"),
        (["method.quantise.min_cluster_size=0"], r"quantise\.min_cluster_size = 0"),
        (["method.quantise.temperature=0"], r"quantise\.temperature = 0"),
        (["method.quantise.weights=equal"], r"quantise\.weights = 'equal'"),
    ],
)
def test_settings_of_a_quantisation_that_do_not_fit_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("demo-ddoq", overrides)
    assert re.search(said, f"{caught.value.seen} {caught.value.expected}")


@pytest.mark.parametrize("name", PROMISED)
def test_a_method_says_of_itself_what_its_settings_do(name: str) -> None:
    recipe = load_recipe("demo", [f"method.name={name}"])
    facts = recipe_facts(recipe)
    assert facts.display_name.lower() == name
    assert facts == facts_of(name.upper())
    assert facts.experts == (recipe.method.followed is not None) == (find_method(name).needs == "experts")
    assert facts.outer_steps == (recipe.method.outer_steps > 0)
    assert facts.centroids == (name in QUANTISING)
    assert all(mark in facts.phrase for mark in facts.citations)
    assert all(f"arXiv:{number}" in work for work in facts.citations.values() for number in ARXIV[name])


ARXIV = {
    "iadd": ["2401.15863"], "mtt": ["2203.11932"], "pp": ["2209.14609"], "ftd": ["2211.11004"],
    "satm": ["2502.01865"], "pdd": ["2310.06982"], "datm": ["2310.05773"], "ddoq": ["2501.07681"],
    "d4m": ["2407.15138"], "dm": ["2110.04181"], "glad": ["2305.01649"], "h-glad": ["2406.05704"],
    "unrolled": ["2311.07025"], "bptt": ["1811.10959"], "rat-bptt": ["2311.07025"], "hop-tm": ["2509.24177"],
    "att": ["2407.14245"], "pad": ["2408.03360"], "at-bptt": ["2510.04838"], "encoded-ddoq": ["2501.07681"],
    "encoded-moments": [], "lgm": ["2511.16674"], "clp-dd": ["2605.07194"], "private-means": ["1805.06530"],
    "idm": ["2307.09742"], "m3d": ["2312.15927"], "dance": ["2406.01063"], "ncfm": ["2502.20653"],
    "dc": ["2006.05929"], "dsa": ["2102.08259"], "dcc": ["2202.02916"], "doscond": ["2206.07746"],
    "idc": ["2205.14959"], "frepo": ["2206.00719"], "krr-st": ["2310.06511"],
    "diffusion-patches": ["2412.09959"],
}  # fmt: skip
"""Method -> the number of the paper that describes it."""


def test_iadd_with_frozen_weights_is_mtt_and_a_set_of_no_known_method_is_taken_for_none() -> None:
    frozen = load_recipe("demo", ["method.importance.direction=frozen"])
    assert recipe_facts(frozen) == facts_of("MTT")
    for name in ("", "SOMETHING", "base", "registry"):
        assert facts_of(name).display_name == ""


@pytest.mark.parametrize("method", ["unrolled", "bptt", "rat-bptt", "at-bptt"])
def test_a_rate_is_learned_where_students_move_by_sgd_and_it_moves(method: str) -> None:
    for inner, lr_lr, learned in (("momentum", 0.01, True), ("sgd", 0.01, True), ("sgd", 0, False), ("adam", 1, False)):
        settings = [f"method.name={method}", f"method.inner={inner}", f"method.student_lr_lr={lr_lr}"]
        assert recipe_facts(load_recipe("demo", settings)).learned_lr == learned


def test_what_is_said_of_a_run_follows_its_settings_section_by_section() -> None:
    changed = load_recipe("demo", ["method.real.weight=0.5", "method.importance.direction=frozen"])
    assert sections_facts(sections_of(changed)) == recipe_facts(changed) != facts_of("IADD")
    other = {**sections_of(changed), "method": {"name": "iadd", "of_another_version": 1}}
    assert sections_facts(other) == facts_of("IADD")
    assert sections_facts({}) == facts_of("")


TOY = '''"""TOY: every image is grey."""

from typing import Literal

from medistill.methods.base import Facts, Method
from medistill.recipe.method import MethodSettings


class Settings(MethodSettings):
    """Grey images."""

    name: Literal["toy"] = "toy"
    grey: float = 0.5
    """How grey."""


class Toy(Method[Settings]):
    settings_type = Settings
    needs = "nothing"

    def facts(self, settings=None):
        return Facts("TOY", family="painting", phrase="painting in grey (TOY; Nobody 2026)")

    def distil(self, job):
        raise NotImplementedError


METHOD = Toy()
'''


def test_a_method_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import medistill.methods

    (tmp_path / "toy.py").write_text(TOY, encoding="utf-8")
    monkeypatch.setattr(medistill.methods, "__path__", [*medistill.methods.__path__, str(tmp_path)])
    assert "toy" in method_names()
    assert method_summary("toy") == "every image is grey"
    recipe = load_recipe("demo", ["method.name=toy", "method.grey=0.25"])
    assert (recipe.method.name, value(recipe.method, "grey"), recipe.method.ipc) == ("toy", 0.25, 5)
    (tmp_path / "r.toml").write_text(recipe_toml(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "r.toml") == recipe
    assert facts_of("TOY").family == "painting"
    with pytest.raises(RecipeError, match=r"method\.experts\.lr is a setting of .*; toy has none"):
        load_recipe("demo", ["method.name=toy", "method.experts.lr=1"])
    with pytest.raises(RecipeError, match=r"method\.grey is a setting of toy; iadd has none"):
        load_recipe("demo", ["method.grey=1"])
    with pytest.raises(RecipeError, match=r"method toy sees patients' images without noise \(set method\.name to one"):
        load_recipe("demo", ["method.name=toy", "privacy.mode=dp", "data.classes=a,b"])


@pytest.mark.parametrize("method", [name for name in PROMISED if issubclass(settings_kind(name), OuterLoopRecipe)])
def test_every_method_that_moves_images_may_begin_with_important_originals(method: str) -> None:
    for init in ("leverage", "distance"):
        recipe = load_recipe("demo", [f"method.name={method}", "method.tiles=1", f"method.init={init}"])
        assert (recipe.method.starts_from, recipe.method.start_drawn_by) == ("real", init)
