"""The loss on originals beside trajectories: off by default, what does not fit, and what privacy forbids."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medistill.errors import RecipeError
from medistill.methods.registry import facts_of, recipe_facts
from medistill.recipe import load_recipe, whole_matching
from medistill.recipe.unrolling import RealRecipe, UnrolledRecipe

PRIVATE = ("privacy.mode=dp", "data.classes=a,b", "method.init=noise")
FROZEN = "method.importance.direction=frozen"


@pytest.mark.parametrize("method", ["iadd", "mtt", "datm"])
def test_it_is_off_by_default(method: str) -> None:
    assert not whole_matching(load_recipe("demo", [f"method.name={method}"]).method).asks_originals


@pytest.mark.parametrize(
    "change", ["method.real.weight=0.5", "method.real.begins=0.9", "method.importance.direction=usefulness"]
)
def test_where_originals_are_asked_differential_privacy_refuses(change: str) -> None:
    assert whole_matching(load_recipe("demo", [change]).method).asks_originals
    with pytest.raises(RecipeError, match="the loss on originals sees patients' images without noise"):
        load_recipe("demo", [change, *PRIVATE])
    with pytest.raises(RecipeError) as other:
        load_recipe("demo", [*PRIVATE, "method.experts.batch_size=1000000"])
    assert "the loss on originals" not in str(other.value)


def test_a_window_longer_than_its_walk_is_refused_by_its_name() -> None:
    with pytest.raises(
        RecipeError, match=r"method\.real\.window 9 is longer than the walk, method\.real\.student_steps 8"
    ):
        load_recipe("demo", ["method.real.window=9", "method.real.student_steps=8"])


def test_with_frozen_weights_it_is_mtt_with_the_real_loss_too() -> None:
    assert recipe_facts(load_recipe("demo", [FROZEN])) == facts_of("MTT")
    for change, name in ((FROZEN, "MTT"), ("method.importance.direction=descent", "IADD")):
        both, base = recipe_facts(load_recipe("demo", [change, "method.real.begins=0.5"])), facts_of(name)
        assert both.loss == f"{base.loss} And its loss on originals, by their shares."
        assert replace(both, loss=base.loss) == base


def test_its_students_have_the_settings_of_the_method_that_is_it_alone() -> None:
    own = {name: field.default for name, field in RealRecipe.model_fields.items() if name not in ("weight", "begins")}
    assert own == {name: UnrolledRecipe.model_fields[name].default for name in own}
