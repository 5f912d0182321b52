"""What is advised where a set may not leave: settings that its own recipe takes, and that change it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from medistill.method_names import method_names
from medistill.recipe import load_recipe, override_recipe
from medistill.workflow.share import _kept_back
from tests.factories import sent_bundle


def advised(*overrides: str, verdict: str = "fail", **changes: object) -> str:
    """The advice for a set of a recipe whose audit ends so."""
    made = sent_bundle.small_set()
    settings = load_recipe("demo", overrides).model_dump(mode="json")
    made = replace(made, provenance=made.provenance.model_copy(update={"recipe": settings}))
    audit = replace(sent_bundle.audit_of(made.digest(), verdict), text=None, **changes)  # type: ignore[arg-type]
    return _kept_back(Path("run"), audit, made).do


@pytest.mark.parametrize("method", method_names())
def test_every_setting_that_is_advised_is_taken_by_the_recipe_and_changes_it(method: str) -> None:
    recipe, told = load_recipe("demo", [f"method.name={method}"]), advised(f"method.name={method}")
    settings = re.findall(r"--set (\S+=[^\s,]+)", told)
    settings += [f"method.ipc={count}" for count in re.findall(r"--ipc (\d+)", told)]
    assert settings or method == "private-means"  # one image a class, of everybody: a smaller budget is what is left
    for setting in settings:
        assert override_recipe(recipe, [setting], "test").digest != recipe.digest


def test_a_quantised_set_is_not_told_to_begin_as_means_which_it_is() -> None:
    told = advised("method.name=ddoq", "method.quantise.min_cluster_size=5")
    assert "method.init" not in told
    assert "--dp-epsilon" not in told  # the method has no release
    assert "--set method.quantise.min_cluster_size=10" in told


def test_an_audit_that_could_not_judge_says_what_it_lacked() -> None:
    told = advised(verdict="not enough evidence", thresholds={**load_recipe("demo").strictness, "shadows": 4})
    assert "audit it with --set audit.shadows=16, as these settings are shipped" in told
    assert "--dp-epsilon" not in told
