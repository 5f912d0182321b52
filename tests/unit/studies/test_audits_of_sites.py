"""Audits of a study's sets: which earlier one is taken as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json
from medistill.recipe import load_recipe
from medistill.studies.exchange.audited import Auditor
from medistill.studies.exchange.sites import ExchangeSite
from medistill.training.context import Context
from tests.factories import report_example


@pytest.mark.parametrize("asked", ["copies", "full"])
@pytest.mark.parametrize("made", ["copies", "full"])
def test_a_quick_audit_is_not_taken_for_a_full_one(tmp_path: Path, asked: str, made: str) -> None:
    recipe = load_recipe("exchange-xray", [f"exchange.audit={asked}"])
    found = report_example.audited()
    assert found.membership is not None
    of_quick = replace(found.membership, networks=0, shadows=0)
    known = replace(found, thresholds=recipe.strictness, membership=found.membership if made == "full" else of_quick)
    folder = tmp_path / "01" / "audit"
    folder.mkdir(parents=True)
    keep_json(folder / "audit.json", known.as_json(), private=True)
    auditor = Auditor(cast("Context", SimpleNamespace(out=tmp_path, recipe=recipe)), None, built_in=True)
    distilled = cast("DistilledSet", SimpleNamespace(digest=lambda: known.set_digest))
    kept = auditor._kept(cast("ExchangeSite", SimpleNamespace(folder="01")), distilled)
    assert (kept == known) is (asked == made)
