"""Audits of former versions: they are read, and what their criteria ask for is what their names said."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from medistill.errors import ArtifactError
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.audit import audit_from_json
from medistill.privacy.copy_search import CopyAttack
from medistill.privacy.findings import contradicted
from medistill.privacy.former_audit import AUDIT_SCHEMA, brought_up
from medistill.privacy.gate import decide, declared
from medistill.privacy.score_attack import ScoreAttack
from medistill.sharing.audit_file import audit_bytes, audit_of_bytes
from medistill.sharing.bundle import Bundle
from medistill.sharing.pages import report_of_bytes, unconfirmed_pages
from tests.factories import full_audit, report_example

FORMER = Path(__file__).resolve().parents[2] / "former" / "former.tar.xz"
AT_LEAST = ("Held-out ", "Fewest ", "Images whose making", "Share of the originals", "Chance ")
"""How the names of criteria began, up to schema 2, that ask for no less than the threshold."""
COUNTED = ("Held-out ", "Fewest ", "Images whose making", "Settings laxer", "Images, or means", "Sites whose")
"""Likewise of those that are counts."""


@pytest.fixture(scope="module")
def former() -> dict[str, Any]:
    """Method -> ``audit.json`` of schema 2."""
    with tarfile.open(FORMER) as archive:
        names = [name for name in archive.getnames() if name.endswith("audit.json")]
        return {name: json.loads(archive.extractfile(name).read()) for name in names}  # type: ignore[union-attr]


def test_what_their_criteria_ask_for_is_what_this_version_asks_under_that_name(former: dict[str, Any]) -> None:
    assert len(former) == 3
    kinds = declared()
    for known in former.values():
        assert known["schema"] == 2
        audit = audit_from_json(known, "a former audit")
        assert len(audit.criteria) == len(known["criteria"])
        assert audit.verdict == decide(audit.criteria)
        for one in audit.criteria:
            assert kinds[one.asked.key] == one.asked, one.name
            assert (one.asked.bound == "at least") == one.name.startswith(AT_LEAST), one.name
            assert (one.asked.reads_as == "count") == one.name.startswith(COUNTED), one.name
            assert not one.contradicted(audit.thresholds, kinds), one.name


def test_which_attack_asked_is_what_its_name_said(former: dict[str, Any]) -> None:
    asks = {attack.name: attack.asks for attack in all_attacks()}
    for known in former.values():
        audit = audit_from_json(known, "a former audit")
        for one in audit.criteria:
            own = one.asked.key in ("making", "laxer settings", "held out") or one.name == "Membership inference"
            assert bool(one.attack) != own, one.name
            assert one.asked in asks.get(one.attack, (one.asked,)), one.name
        assert contradicted(audit) == ()


def test_every_search_for_copies_and_every_attack_on_people_is_known_by_the_name_of_its_criterion() -> None:
    for attack in all_attacks():
        called = attack.display_name
        if isinstance(attack, CopyAttack | ScoreAttack):
            name = f"Copies in {called}" if isinstance(attack, CopyAttack) else f"AUC ({called} attack)"
            (told,) = brought_up({"schema": 3, "criteria": [{"name": name}]})["criteria"]
            assert told["attack"] == attack.name


def test_an_audit_that_did_not_look_for_text_is_read_and_does_not_pass(former: dict[str, Any]) -> None:
    known = next(iter(former.values()))
    passing = [one for one in known["criteria"] if one["verdict"] == "pass"]
    audit = audit_from_json({**known, "schema": 1, "criteria": passing, "verdict": "pass"}, "a former audit")
    assert audit.text is None
    assert audit.verdict == "pass"
    assert not audit.passed


def test_bundles_of_former_versions_are_opened_and_of_their_pages_report_and_card_are_worded_otherwise_now(
    tmp_path: Path,
) -> None:
    with tarfile.open(FORMER) as archive:
        archive.extractall(tmp_path, filter="data")
    bundles = sorted(tmp_path.rglob("*.zip"))
    assert len(bundles) == 3
    for path in bundles:
        bundle = Bundle.open(path)
        assert bundle.audit is not None
        assert json.loads(bundle.files["audit.json"])["schema"] == 2
        assert report_of_bytes(bundle.files["report.json"]).title
        assert unconfirmed_pages(bundle) == ("report.html", "README.md")


def test_what_this_version_writes_is_left_as_it_is_and_what_none_wrote_is_refused() -> None:
    now = json.loads(audit_bytes(report_example.audited()))
    assert now["schema"] == AUDIT_SCHEMA
    assert brought_up(now) == now
    for schema in (True, 0, AUDIT_SCHEMA + 1, None):
        with pytest.raises(ArtifactError, match="schema"):
            audit_from_json({**now, "schema": schema}, "it")


@pytest.mark.parametrize("field", ["soft_labels", "one_run"])
def test_an_audit_from_before_something_was_asked_comes_out_of_a_bundle(field: str) -> None:
    known = full_audit.full_audit().as_json()
    assert known["membership"].pop(field) is not None
    known["criteria"] = [one for one in known["criteria"] if one["attack"] != field.replace("_", " ")]
    audit = audit_of_bytes(json.dumps(known).encode())
    assert audit.membership is not None
    assert getattr(audit.membership, field) is None
    assert [one.name for one in audit.criteria] == [one["name"] for one in known["criteria"]]
