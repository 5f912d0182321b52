"""Which settings weaken an audit, in which direction, and by how much one differs from what is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from medistill.errors import FormerFile, RecipeError
from medistill.recipe import AuditRecipe, EvaluateRecipe, audit_deviations, load_recipe, recipe_names, validate_recipe
from medistill.recipe.load import recipe_toml
from medistill.recipe.strictness import declared
from medistill.sharing.outgoing import outgoing_recipe

SHIPPED = load_recipe("demo").strictness


def test_every_setting_of_the_audit_declares_in_which_direction_it_is_laxer() -> None:
    assert [name for name, _, _ in declared(AuditRecipe)] == list(AuditRecipe.model_fields)
    trained, told = {"epochs", "lr", "raw_epochs", "raw_lr"}, {"confidence", "smallest_cell"}
    assert {name for name, _, _ in declared(EvaluateRecipe)} == trained | told
    assert [one.setting for one in audit_deviations({**SHIPPED, "evaluate.raw_lr": 1e-9}) if one.laxer] == [
        "evaluate.raw_lr"
    ]
    assert audit_deviations({**SHIPPED, "evaluate.lr": 0.003}) == ()


@pytest.mark.parametrize("name", recipe_names())
def test_no_shipped_recipe_is_laxer_than_what_is_shipped(name: str) -> None:
    assert audit_deviations(load_recipe(name).strictness) == ()


LAXER = {
    "audit.copy_ratio": 0.4, "audit.most_copies": 0.9, "audit.most_recovered": 0.9, "audit.least_cluster": 2,
    "audit.least_held_out": 99, "audit.most_found": 0.06, "audit.most_auc": 0.9, "audit.canary_chance": 0.001,
    "audit.networks": 1, "audit.shadows": 4, "audit.shadow_experts": 1, "audit.shadow_iterations": 1,
    "audit.canaries": 0, "evaluate.epochs": 1, "evaluate.raw_epochs": 1, "evaluate.confidence": 0.999,
    "evaluate.smallest_cell": 1000,
}  # fmt: skip
STRICTER = {"audit.copy_ratio": 0.6, "audit.least_held_out": 200, "audit.most_auc": 0.55, "evaluate.confidence": 0.9}


@pytest.mark.parametrize(("setting", "value"), LAXER.items())
def test_what_opens_the_gate_is_laxer(setting: str, value: float) -> None:
    (found,) = audit_deviations(load_recipe("demo", [f"{setting}={value}"]).strictness)
    assert (found.setting, found.value, found.laxer) == (setting, value, True)
    assert f"{setting} is {value:g} (laxer than the shipped " in found.sentence


@pytest.mark.parametrize(("setting", "value"), STRICTER.items())
def test_what_closes_it_is_stricter(setting: str, value: float) -> None:
    (found,) = audit_deviations(load_recipe("demo", [f"{setting}={value}"]).strictness)
    assert (found.setting, found.laxer) == (setting, False)


def test_a_setting_that_is_not_told_counts_as_laxer() -> None:
    told = {name: value for name, value in SHIPPED.items() if name != "most_copies"}
    (found,) = audit_deviations(told)
    assert found.laxer
    assert found.sentence == "audit.most_copies is not told (shipped: 0)"


def test_longer_training_than_the_least_that_is_shipped_differs_in_nothing() -> None:
    assert audit_deviations({**SHIPPED, "evaluate.epochs": 5000, "evaluate.raw_epochs": 50}) == ()


@pytest.mark.parametrize(("setting", "least"), [("shadows", 4), ("one_run_canaries", 20)])
def test_what_would_be_made_and_tell_nothing_is_refused_when_the_recipe_is_read(setting: str, least: int) -> None:
    for count in (1, least - 1):
        with pytest.raises(RecipeError, match=rf"{setting} = {count}.*{least} or more"):
            load_recipe("demo", [f"audit.{setting}={count}"])
    for count in (0, least):
        assert getattr(load_recipe("demo", [f"audit.{setting}={count}"]).audit, setting) == count


def test_a_set_that_was_made_when_they_were_taken_can_still_be_used() -> None:
    plain = load_recipe("demo").model_dump(mode="json")
    plain["audit"] |= {"shadows": 2, "one_run_canaries": 7}
    with pytest.warns(
        FormerFile, match=r"the recipe inside a set: audit.(shadows = 2|one_run_canaries = 7) is too few"
    ):
        read = validate_recipe(plain, "the recipe inside a set")
    assert (read.audit.shadows, read.audit.one_run_canaries) == (0, 0)
    with pytest.warns(FormerFile):
        left = outgoing_recipe(plain)  # a bundle keeps its recipe
    assert left is not None
    assert left["audit"]["shadows"] == 0
    plain["audit"]["shadows"] = True
    with pytest.raises(RecipeError):
        validate_recipe(plain, "a recipe")


def test_a_run_that_was_made_when_they_were_taken_can_be_gone_on_with(tmp_path: Path) -> None:
    stored = tmp_path / "recipe.toml"
    stored.write_text(recipe_toml(load_recipe("demo")).replace("\nshadows = 16\n", "\nshadows = 2\n"))
    assert "\nshadows = 2\n" in stored.read_text()
    with pytest.warns(FormerFile, match=r"audit.shadows = 2 is too few to tell anything; it is read as 0"):
        assert load_recipe(stored).audit.shadows == 0
    with pytest.warns(FormerFile):
        assert load_recipe(stored, ["audit.shadows=4"]).audit.shadows == 4
    with pytest.warns(FormerFile), pytest.raises(RecipeError, match=r"shadows = 3.*4 or more"):
        load_recipe(stored, ["audit.shadows=3"])
