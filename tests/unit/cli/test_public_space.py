"""Which space a private run is made in: the one that is named, that of the run which goes on, or a drawn one."""

from __future__ import annotations

from pathlib import Path

import pytest

from medistill.errors import UsageError
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe
from medistill.recipe.load import recipe_toml
from medistill.workflow import public_projection
from medistill_cli.brought import drawn_space, public_space, with_space

DRAWN, OTHER = "a" * 64, "b" * 64
NOTHING = {"patients": None, "labels": None, "sites": None, "components": None, "device": "cpu", "progress": Silent()}


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes for which a space was drawn."""
    made: list[Recipe] = []
    monkeypatch.setattr(public_projection, "fit_invented_projection", lambda recipe, **_: made.append(recipe) or DRAWN)
    return made


def space_of(recipe: Recipe, stored: Path | None) -> str:
    return public_space(recipe, None, stored=stored, **NOTHING)  # type: ignore[arg-type]


def test_a_private_run_without_public_images_has_a_drawn_space(drawings: list[Recipe], tmp_path: Path) -> None:
    recipe = load_recipe("covid-xray-private")
    assert with_space(recipe, space_of(recipe, None)).network.projection == DRAWN
    assert space_of(recipe, tmp_path / "of-no-run.toml") == DRAWN
    assert len(drawings) == 2


def test_a_run_that_goes_on_keeps_its_space_where_its_first_command_is_repeated(
    drawings: list[Recipe], tmp_path: Path
) -> None:
    recipe = load_recipe("covid-xray-private")
    (tmp_path / "recipe.toml").write_text(recipe_toml(with_space(recipe, OTHER)))
    again = with_space(recipe, space_of(recipe, tmp_path / "recipe.toml"))
    assert again.digest == with_space(recipe, OTHER).digest
    (tmp_path / "recipe.toml").write_text(recipe_toml(recipe))
    assert space_of(recipe, tmp_path / "recipe.toml") == ""
    assert drawings == []


@pytest.mark.parametrize(
    "settings", [["method.space=encoder"], ["method.space=raw"], [f'network.projection="{OTHER}"']]
)
def test_nothing_is_drawn_where_a_space_is_named(drawings: list[Recipe], settings: list[str]) -> None:
    recipe = load_recipe("covid-xray-private", settings)
    assert drawn_space(recipe, "cpu", Silent()) == recipe.network.projection
    assert with_space(recipe, recipe.network.projection) is recipe
    assert drawings == []


def test_nothing_is_drawn_for_other_methods(drawings: list[Recipe]) -> None:
    for name in ("demo", "covid-xray-encoded"):
        assert space_of(load_recipe(name), None) == ""
    assert drawings == []


def test_sites_of_no_public_images_are_refused(drawings: list[Recipe]) -> None:
    with pytest.raises(UsageError, match="without --public"):
        public_space(load_recipe("covid-xray-private"), None, stored=None, **NOTHING | {"sites": "west"})  # type: ignore[arg-type]
    assert drawings == []
