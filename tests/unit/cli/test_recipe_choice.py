"""Which recipe a command takes, and that the user is told of a choice made for them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medistill.errors import RecipeError
from medistill.recipe import load_recipe, recipe_toml
from medistill_cli.main import app
from medistill_cli.recipe_choice import choose_recipe, method_for, overrides_of, words_of
from tests.factories.heard import Heard


def test_without_data_the_demo_recipe_is_taken_and_said() -> None:
    told = Heard()
    assert choose_recipe(None, [], data=None, device="auto", progress=told) == load_recipe("demo")
    assert len(told.said) == 1
    assert told.said[0].startswith("Recipe demo,")


@pytest.mark.parametrize(
    ("gpu", "device", "name"),
    [(True, "auto", "covid-xray"), (False, "auto", "covid-xray-cpu"), (True, "cpu", "covid-xray-cpu")],
)
def test_with_data_the_machine_decides_and_it_is_said(
    gpu: bool, device: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    told = Heard()
    assert choose_recipe(None, [], data=Path("xray"), device=device, progress=told).name == name
    assert told.said[0].startswith(f"Recipe {name},")
    assert "--recipe" in told.said[0]


def test_prepare_takes_the_recipe_that_distill_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (tmp_path / "xray").mkdir()
    told = CliRunner().invoke(app, ["prepare", "--data", str(tmp_path / "xray")])
    assert "Recipe covid-xray, since there is a GPU" in told.stderr


def test_a_recipe_that_was_asked_for_is_taken_without_words() -> None:
    told = Heard()
    assert choose_recipe("cifar10-ipc1", [], data=Path("x"), device="auto", progress=told).name == "cifar10-ipc1"
    assert told.said == []


def test_a_resumed_run_keeps_its_own_recipe(tmp_path: Path) -> None:
    mine = load_recipe("demo", ["method.ipc=3", "seed=9"])
    stored = tmp_path / "recipe.toml"
    stored.write_text(recipe_toml(mine))
    assert choose_recipe(None, [], data=Path("x"), device="auto", progress=Heard(), stored=stored) == mine
    named = choose_recipe("demo", [], data=None, device="auto", progress=Heard(), stored=stored)
    assert named == load_recipe("demo")


def test_options_that_stand_for_settings_come_after_set() -> None:
    overrides = overrides_of(
        ["method.ipc=1", "method.experts.count=2"], ipc=4, seed=5, sites="a, b", classes="COVID,1,Pneumonie à virus"
    )
    recipe = load_recipe("demo", overrides)
    assert (recipe.method.ipc, recipe.method.experts.count, recipe.seed) == (4, 2, 5)
    assert recipe.data.sites == ("a", "b")
    assert recipe.data.classes == ("COVID", "1", "Pneumonie à virus")


def test_a_decoder_that_was_brought_wins_over_set() -> None:
    given = ["method.quantise.encoder=pca", f"method.quantise.decoder='{'1' * 64}'", "method.quantise.components=5"]
    recipe = load_recipe("demo", overrides_of(given, method="ddoq", decoder="2" * 64))
    assert (recipe.method.quantise.encoder, recipe.method.quantise.decoder) == ("brought", "2" * 64)
    assert (recipe.method.name, recipe.method.quantise.components) == ("ddoq", 5)


def test_the_method_comes_before_set_and_after_the_recipe() -> None:
    assert overrides_of(["method.ema=0.5"], method="ftd", seed=3) == ["method.name=ftd", "method.ema=0.5", "seed=3"]
    recipe = load_recipe("demo", overrides_of(["method.experts.sharpness=0.3"], method="ftd"))
    assert (recipe.method.name, recipe.method.experts.sharpness, recipe.method.experts.surrogate_gap) == (
        "ftd",
        0.3,
        1.0,
    )
    with pytest.raises(RecipeError, match=r"importance\.direction is a setting of iadd; mtt has none"):
        load_recipe("demo", overrides_of(["method.importance.direction=descent"], method="mtt"))


def test_a_resumed_run_keeps_its_method(tmp_path: Path) -> None:
    mine = load_recipe("demo", overrides_of(None, method="datm"))
    stored = tmp_path / "recipe.toml"
    stored.write_text(recipe_toml(mine))
    for method in (None, "datm"):
        overrides = overrides_of(None, method=method)
        assert choose_recipe(None, overrides, data=None, device="auto", progress=Heard(), stored=stored) == mine


def test_the_words_of_a_command_carry_its_method() -> None:
    words = words_of(Path("xray"), None, "demo", ["method.ema=0.5"], method="ftd", seed=3)
    assert words == shlex.split("--data xray --recipe demo --method ftd --seed 3 --set method.ema=0.5")
    assert "--method" not in words_of(Path("xray"), None, "demo", None, method=None)


def test_an_encoder_makes_networks_probes_whatever_set_says() -> None:
    recipe = load_recipe("demo", overrides_of(["network.name=resnet18"], encoder="2" * 64))
    assert (recipe.network.name, recipe.network.encoder) == ("probe", "2" * 64)


@pytest.mark.parametrize(
    ("recipe", "settings", "size"),
    [
        ("demo", [], 128),
        (None, [], 128),
        ("demo", ["data.image_size=48"], 48),
        ("mine", [], 48),
        ("plain", [], 128),
    ],
)
def test_images_for_an_encoder_are_not_small_unless_somebody_says_so(
    recipe: str | None, settings: list[str], size: int, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text("[data]\nimage_size = 48\n")
    (tmp_path / "plain.toml").write_text("[method]\nipc = 3\n")
    name = str(tmp_path / f"{recipe}.toml") if recipe in ("mine", "plain") else recipe
    told, overrides = Heard(), overrides_of(settings, encoder="2" * 64)
    chosen = choose_recipe(name, overrides, data=None, device="cpu", progress=told, encoder="2" * 64)
    assert chosen.data.image_size == size
    assert any("Images of 128 pixels" in line for line in told.said) == (size == 128)


def test_an_encoder_takes_the_method_that_is_made_for_it_unless_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text('[method]\nname = "dm"\n')
    mine, stored = str(tmp_path / "mine.toml"), tmp_path / "mine.toml"
    there = ("dm", "iadd", "encoded-ddoq", "private-means")
    monkeypatch.setattr("medistill.method_names.method_names", lambda: there)

    def method(named: str | None = None, recipe: str | None = "demo", settings: tuple[str, ...] = (), **more: object):
        given = {"encoder": "2" * 64, "stored": None, "private": False, **more}
        return method_for(named, given.pop("encoder"), recipe, settings, **given)

    assert method() == "encoded-ddoq"
    assert method(private=True) == "private-means"
    assert method("ftd") == "ftd"
    assert method(recipe=mine) is None
    assert method(settings=("method.name=dm",)) is None
    assert method(encoder=None) is None
    assert method(recipe=None, stored=stored) is None
    assert method(recipe="demo", stored=stored) == "encoded-ddoq"
    there = ("dm", "iadd")
    assert method() is None
