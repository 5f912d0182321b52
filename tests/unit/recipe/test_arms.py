"""The list of arms, and what reads it."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest
from pydantic import TypeAdapter

from medistill.errors import RecipeError
from medistill.evaluate.originals_choice import CHOICES
from medistill.recipe import arms, load_recipe
from medistill.recipe.arms import ARMS, CONTROLS, HEADLINE, OF_THE_SET


def test_every_arm_of_originals_is_chosen_in_a_way_that_is_known() -> None:
    assert {arm.chosen for arm in ARMS.values() if not arm.of_the_set} == set(CHOICES)
    assert {arm.chosen for arm in ARMS.values() if arm.of_the_set} == {""}


def test_names_are_told_apart() -> None:
    for texts in ([arm.display_name for arm in ARMS.values()], [arm.description for arm in ARMS.values()]):
        assert len(set(texts)) == len(ARMS)
        assert all(texts)
    assert [arm.name for arm in ARMS.values()] == list(ARMS)


def test_an_arm_is_a_control_or_of_the_set() -> None:
    assert set(CONTROLS) | set(OF_THE_SET) == set(ARMS)
    assert not set(CONTROLS) & set(OF_THE_SET)
    assert HEADLINE[0] == "distilled"
    assert set(HEADLINE) <= set(ARMS)


def test_records_and_recipes_know_the_names_of_the_list_and_no_other() -> None:
    assert get_args(arms.ArmName) == tuple(ARMS)
    assert TypeAdapter(arms.ControlArm).json_schema()["enum"] == list(CONTROLS)
    assert load_recipe("demo", [f'evaluate.arms=["{name}"]' for name in CONTROLS[:1]]).evaluate.arms == CONTROLS[:1]
    for name in ("distilled", "nearest"):
        with pytest.raises(RecipeError, match=r"evaluate\.arms"):
            load_recipe("demo", [f'evaluate.arms=["{name}"]'])


def test_the_list_is_read_without_torch() -> None:
    ask = "import sys, medistill.recipe.arms; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
