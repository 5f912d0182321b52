"""What a received recipe may ask, against the recipes that come with the package and the ranges of the settings."""

from __future__ import annotations

from typing import Any

import pytest

from medistill.errors import RecipeError
from medistill.method_names import method_names
from medistill.recipe import load_recipe, recipe_names, validate_recipe
from medistill.recipe.limits import limits, refuse_large
from medistill.recipe.load import settings_of


def test_every_limit_is_of_a_setting_and_no_shipped_recipe_comes_near_one() -> None:
    known = {
        setting
        for method in method_names()
        for setting, _ in settings_of(load_recipe("covid-xray", [f"method.name={method}"]))
    }
    assert limits().keys() <= known
    for name in recipe_names():
        refuse_large(load_recipe(name).model_dump(), name, "refuse")


def test_every_whole_number_of_a_recipe_has_a_limit_or_takes_no_work() -> None:
    """A setting that is added later has to be judged: it is limited, or listed here with the reason."""
    free = {
        "method.min_start_epoch", "method.max_start_epoch", "method.batch_syn", "method.real.batch_syn",
        "method.unrolled.batch_syn",
        "method.validate_every", "method.checkpoint_every", "evaluate.smallest_cell",
        "method.quantise.min_cluster_size", "audit.least_cluster", "audit.least_held_out", "privacy.units",
        "data.channels", "schedule.few_patients", "seed", "method.min_patients", "method.kept.every",
    }  # fmt: skip
    """They choose among what is there, or take less work where they are larger."""
    whole = {
        setting
        for method in method_names()
        for setting, value in settings_of(load_recipe("covid-xray", [f"method.name={method}"]))
        if isinstance(value, int) and not isinstance(value, bool)
    }
    assert whole == free | limits().keys()


def _asked(setting: str, value: int) -> dict[str, Any]:
    asked: Any = value
    for part in reversed(setting.split(".")):
        asked = {part: asked}
    return asked


@pytest.mark.parametrize("setting", limits())
def test_more_than_the_limit_is_refused_by_name_and_can_be_allowed(setting: str) -> None:
    limit = limits()[setting]
    asked = _asked(setting, limit + 1)
    with pytest.raises(RecipeError, match=rf"{setting} = {limit + 1}.*at most {limit}.*--allow-large-recipe"):
        refuse_large(asked, "the recipe inside x.zip", "refuse")
    refuse_large(asked, "x", "allow")
    refuse_large(_asked(setting, limit), "x", "refuse")
    refuse_large(asked, "x", "refuse", used=_asked(setting, 1))  # the user set it


@pytest.mark.parametrize(("section", "key"), [("distill", "iterations"), ("experts", "count"), ("quantise", "passes")])
def test_a_former_recipe_is_held_to_the_same_limits(section: str, key: str) -> None:
    asked = {"method": "ddoq", section: {key: 10**8}}
    with pytest.raises(RecipeError, match=rf"asks for method\..*{key} = 100000000"):
        refuse_large(asked, "the recipe inside x.zip", "refuse")


@pytest.mark.parametrize("odd", [None, 3, {"network": 5}, {"network": {"width": "x"}}, {"evaluate": None}])
def test_what_is_no_recipe_asks_for_nothing_and_hides_nothing(odd: object) -> None:
    refuse_large(odd, "x", "refuse")
    large = _asked("method.ipc", 10**9)
    with pytest.raises(RecipeError, match=r"asks for method\.ipc"):
        refuse_large(large | odd if isinstance(odd, dict) else large, "x", "refuse", used=large)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("network", "width", 10**6),
        ("evaluate", "epochs", 10**30),
        ("evaluate", "bootstrap", 10**12),
        ("method", "ipc", -1),
        ("method", "image_lr", float("inf")),
        ("data", "label_column", "x" * 201),
        ("data", "classes", ["a\x1b[31m"]),
        ("data", "classes", list(map(str, range(10_001)))),
        ("", "description", "x" * 10_001),
        ("", "name", "a\nb"),
        ("", "name", "x" * 10**7),
    ],
)
def test_absurd_settings_are_outside_their_range_and_the_message_is_short(section: str, key: str, value: Any) -> None:
    with pytest.raises(RecipeError) as refused:
        validate_recipe({section: {key: value}} if section else {key: value}, "test")
    assert key in str(refused.value)
    assert len(str(refused.value)) < 1000
