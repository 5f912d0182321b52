"""A recipe with comments says the same as the recipe, and its comments are those of the reference."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from medistill.recipe import Recipe, load_recipe, recipe_names, validate_recipe
from medistill.recipe.commented import COLUMNS, commented_toml
from medistill.recipe.method import settings_kind


@pytest.mark.parametrize("method", ["mtt", "ftd", "d4m"])
def test_a_recipe_of_another_method_than_the_default_names_it(method: str, tmp_path: Path) -> None:
    recipe = load_recipe("demo", [f"method.name={method}", "method.quantise.passes=3"])
    file = tmp_path / "mine.toml"
    file.write_text(commented_toml(recipe, head=["Some words."]), encoding="utf-8")
    assert load_recipe(file) == recipe
    assert "# Name of the method." in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_read_back_as_it_was(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    file = tmp_path / "mine.toml"
    file.write_text(commented_toml(recipe, head=["Some words."]), encoding="utf-8")
    assert load_recipe(file) == recipe


def test_only_what_differs_or_was_asked_for_is_written() -> None:
    assert tomllib.loads(commented_toml(Recipe(), head=[])) == {}
    shown = commented_toml(Recipe(), head=[], shown=("method.ipc", "data.classes"))
    assert tomllib.loads(shown) == {"data": {"classes": []}, "method": {"ipc": 10}}


def test_every_setting_stands_below_its_description() -> None:
    settings = {"method": {"ipc": 3, "iterations": 7, "max_start_epoch": 4}, "seed": 9}
    lines = commented_toml(validate_recipe(settings, "test"), head=[]).splitlines()
    for key in ("ipc", "iterations", "max_start_epoch"):
        at = next(n for n, line in enumerate(lines) if line.startswith(f"{key} = "))
        above = []
        while lines[at - 1].startswith("# "):
            at -= 1
            above.insert(0, lines[at].removeprefix("# "))
        assert " ".join(above) == " ".join((settings_kind("iadd").model_fields[key].description or "").split())
    assert lines[lines.index("seed = 9") - 1].startswith("# Seed from which")
    assert max(map(len, lines)) <= COLUMNS


def test_words_of_the_head_cannot_become_settings() -> None:
    head = ["one\nseed = 5\rseed = 6\u2028seed = 7", "  medistill distill\n  seed = 8"]
    assert tomllib.loads(commented_toml(Recipe(), head=head)) == {}
