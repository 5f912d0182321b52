"""Audits of a study's sets: which earlier one is taken as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json
from medistill.privacy.attack_registry import all_attacks
from medistill.recipe import load_recipe
from medistill.studies.exchange.audited import ASKED, ASKING, Auditor
from medistill.studies.exchange.sites import ExchangeSite
from medistill.training.context import Context
from tests.factories import report_example


def kept(folder: Path, *, asked: str, made: str, asking: dict[str, object] | None) -> bool:
    """Whether an audit that was ``made`` is taken where ``asked`` is wanted; ``asking`` is what stands beside it."""
    recipe = load_recipe("exchange-xray", [f"exchange.audit={asked}"])
    found = report_example.audited()
    assert found.membership is not None
    of_quick = replace(found.membership, networks=0, shadows=0)
    known = replace(found, thresholds=recipe.strictness, membership=found.membership if made == "full" else of_quick)
    (folder / "01" / "audit").mkdir(parents=True)
    keep_json(folder / "01" / "audit" / "audit.json", known.as_json(), private=True)
    if asking is not None:
        keep_json(folder / "01" / "audit" / ASKED, asking, private=True)
    auditor = Auditor(cast("Context", SimpleNamespace(out=folder, recipe=recipe)), None, built_in=True)
    distilled = cast("DistilledSet", SimpleNamespace(digest=lambda: known.set_digest))
    return auditor._kept(cast("ExchangeSite", SimpleNamespace(folder="01")), distilled) == known


@pytest.mark.parametrize(("asked", "made", "taken"), [
    ("copies", "copies", True), ("copies", "full", True), ("full", "full", True), ("full", "copies", False),
])  # fmt: skip
def test_a_quick_audit_is_not_taken_for_a_full_one(tmp_path: Path, asked: str, made: str, taken: bool) -> None:
    names = [attack.name for attack in all_attacks()]
    assert kept(tmp_path, asked=asked, made=made, asking={"asking": ASKING, "attacks": names}) is taken


@pytest.mark.parametrize("fault", ["nothing stands beside it", "other people", "an attack less"])
def test_an_audit_that_asked_less_is_made_again(tmp_path: Path, fault: str) -> None:
    names = [attack.name for attack in all_attacks()]
    beside: dict[str, dict[str, object] | None] = {
        "nothing stands beside it": None,
        "other people": {"asking": ASKING - 1, "attacks": names},
        "an attack less": {"asking": ASKING, "attacks": names[:-1]},
    }
    assert not kept(tmp_path, asked="copies", made="copies", asking=beside[fault])
