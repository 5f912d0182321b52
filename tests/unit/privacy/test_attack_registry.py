"""The registry of attacks: what each says of itself holds together, and reading an audit stays light."""

from __future__ import annotations

import subprocess
import sys

from medistill.privacy.attack import GAPS
from medistill.privacy.attack_registry import all_attacks, display_name, space_name
from medistill.privacy.copy_search import CopySearch
from medistill.privacy.gate import HELD_OUT, LAXER, declared
from medistill.recipe import AuditRecipe
from medistill.recipe.strictness import declared as graded


def test_names_and_spaces_are_each_one_attack_s() -> None:
    names = [attack.name for attack in all_attacks()]
    spaces = [attack.space for attack in all_attacks() if isinstance(attack, CopySearch)]
    assert len(names) == len(set(names)) > 0
    assert len(spaces) == len(set(spaces)) > 0
    assert (display_name("loss"), display_name("of another version")) == ("loss", "of another version")
    assert (space_name("structure"), space_name("elsewhere")) == ("structural similarity", "elsewhere")


def test_what_a_criterion_asks_for_is_one_thing_under_one_key() -> None:
    kinds = [asked for attack in all_attacks() for asked in attack.asks]
    assert {asked.key: asked for asked in kinds} | {LAXER.key: LAXER, HELD_OUT.key: HELD_OUT} | {
        "making": declared()["making"]
    } == declared()
    assert len({asked.key for asked in kinds}) == len(set(kinds))


def test_thresholds_are_settings_and_their_direction_is_that_in_which_the_recipe_says_they_are_laxer() -> None:
    laxer = {name: mark.when for name, _, mark in graded(AuditRecipe)}
    for asked in declared().values():
        if asked.setting:
            assert {"above": "at most", "below": "at least"}[laxer[asked.setting]] == asked.bound, asked


def test_the_gaps_that_attacks_close_are_told_otherwise() -> None:
    assert {gap for attack in all_attacks() for gap in attack.closes} <= set(GAPS)


def test_whoever_reads_an_audit_does_not_load_torch() -> None:
    code = "import sys; from medistill.privacy.gate import declared; declared(); print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
