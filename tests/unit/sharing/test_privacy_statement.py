"""The privacy statement: it comes back as it went, an altered one is refused, and so is one that is meant to harm."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medistill.errors import ArtifactError
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.audit import Audit
from medistill.privacy.criterion import Asked, Criterion
from medistill.sharing.audit_file import audit_bytes, audit_of_bytes
from medistill.sharing.bundle import Bundle, pack
from medistill.sharing.manifest import PrivacyRecord
from medistill.sharing.pages import unconfirmed_pages
from medistill.sharing.privacy_schema import schema_text
from medistill.sharing.privacy_statement import MOST_BYTES, PRIVACY, PrivacyStatement, privacy_statement, read_statement
from medistill.sharing.statement import Statement
from tests.factories import full_audit, sent_bundle

DIGEST = "a" * 64
GUARANTEE = PrivacyRecord(epsilon=8.0, delta=1e-5, unit="patient", mechanism="DP-SGD", accountant="PRV")
PUBLISHED = Path(__file__).resolve().parents[3] / "docs" / "schema" / "privacy-1.json"


def audit() -> Audit:
    return replace(full_audit.full_audit(), set_digest=DIGEST, corpus="", command="")


def stated(guarantee: PrivacyRecord | None = GUARANTEE) -> PrivacyStatement:
    return privacy_statement(audit(), DIGEST, guarantee)


def read(value: Mapping[str, Any], told: Audit | None = None) -> PrivacyStatement | None:
    files = {PRIVACY: f"{json.dumps(value, indent=2, ensure_ascii=False)}\n".encode()}
    return read_statement(files, told or audit(), DIGEST, GUARANTEE)


def test_it_comes_back_as_it_went() -> None:
    sent = stated()
    assert PrivacyStatement.from_bytes(sent.to_bytes()) == sent
    assert read_statement({PRIVACY: sent.to_bytes()}, audit(), DIGEST, GUARANTEE) == sent
    assert read_statement({}, audit(), DIGEST, GUARANTEE) is None
    assert len(sent.to_bytes()) < MOST_BYTES / 5
    nothing = privacy_statement(None, DIGEST, None)
    assert read_statement({PRIVACY: nothing.to_bytes()}, None, DIGEST, None) == nothing
    assert (nothing.verdict, nothing.attacks, nothing.guarantee) == (None, (), None)


def test_it_says_of_every_attack_what_the_audit_says() -> None:
    told = stated().as_json()
    assert told["verdict"] == audit().verdict
    assert {one["attack"] for one in told["attacks"]} == {attack.name for attack in all_attacks()}
    (loss,) = (one for one in told["attacks"] if one["attack"] == "loss")
    assert loss["attacker_has"] == ["set", "recipe", "person"]
    area = loss["findings"][1]
    assert (area["counts"], area["bound"], area["threshold"], area["verdict"]) == ("auc", "at most", 0.6, "pass")
    membership = audit().membership
    assert membership is not None
    cells = {one.source: one.cells[0].auc for one in membership.attacks if one.name == "loss"}
    for name, source in (("distilled_set", "distilled"), ("positive_control", "random"), ("all_originals", "raw")):
        assert area[name] == {"value": cells[source].value, "low": cells[source].low, "high": cells[source].high}
    assert told["guarantee"]["epsilon"] == 8
    assert [one["counts"] for one in told["asked_of_audit"]] == ["making", "laxer settings", "held out"]


def test_the_published_schema_is_what_the_record_gives_and_a_statement_fits() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema, of the test extra, is not installed")
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(), (
        "run: python -m medistill.sharing.privacy_schema > docs/schema/privacy-1.json"
    )
    validator = jsonschema.Draft202012Validator(json.loads(schema_text()))
    validator.check_schema(json.loads(schema_text()))
    value = stated().as_json()
    assert list(validator.iter_errors(value)) == []
    for alter in (lacking, unknown_key, infinite_share, markup):
        assert list(validator.iter_errors(altered(alter))), alter


def lacking(value: dict[str, Any]) -> None:
    del value["attacks"][0]["findings"][0]["verdict"]


def unknown_key(value: dict[str, Any]) -> None:
    value["attacks"][0]["note"] = "trust me"


def infinite_share(value: dict[str, Any]) -> None:
    value["attacks"][0]["findings"][0]["distilled_set"]["value"] = 1e300


def markup(value: dict[str, Any]) -> None:
    value["attacks"][0]["attack"] = "<script>alert(1)</script>"


def smaller_figure(value: dict[str, Any]) -> None:
    value["attacks"][-2]["findings"][0]["distilled_set"]["value"] = 0.001


def passes(value: dict[str, Any]) -> None:
    value["verdict"] = "pass"


def attack_left_out(value: dict[str, Any]) -> None:
    value["attacks"].pop()


def attack_twice(value: dict[str, Any]) -> None:
    value["attacks"].append(value["attacks"][-1])


def stronger_attacker(value: dict[str, Any]) -> None:
    value["attacks"][0]["attacker_has"] = ["set", "person", "others"]


def laxer(value: dict[str, Any]) -> None:
    value["thresholds"]["most_found"] = 0.9


def smaller_epsilon(value: dict[str, Any]) -> None:
    value["guarantee"]["epsilon"] = 0.1


def another_set(value: dict[str, Any]) -> None:
    value["set_digest"] = "b" * 64


def no_control(value: dict[str, Any]) -> None:
    value["attacks"][0]["findings"][0]["positive_control"]["value"] = 0.0


def another_rule(value: dict[str, Any]) -> None:
    value["rule"] = "pass if any criterion passes"


def other_number(value: dict[str, Any]) -> None:
    value["schema"] = True


def share_above_one(value: dict[str, Any]) -> None:
    value["attacks"][0]["findings"][0]["distilled_set"]["value"] = 1.5


def outside_its_interval(value: dict[str, Any]) -> None:
    value["attacks"][0]["findings"][0]["distilled_set"] = {"value": 0.5, "low": 0.6, "high": 0.7}


def text_for_a_number(value: dict[str, Any]) -> None:
    value["attacks"][0]["findings"][0]["threshold"] = "0"


def too_many(value: dict[str, Any]) -> None:
    value["attacks"] = 201 * value["attacks"][:1]


def deep(value: dict[str, Any]) -> None:
    nested: Any = 0
    for _ in range(900):
        nested = [nested]
    value["thresholds"] = {"x": nested}


def escape(value: dict[str, Any]) -> None:
    value["attacks"][0]["attack"] = "loss\u001b[2J"


def altered(alter: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(stated().to_bytes())
    alter(value)
    return value


@pytest.mark.parametrize(
    "alter",
    [
        smaller_figure, passes, attack_left_out, attack_twice, stronger_attacker, laxer, smaller_epsilon, another_set,
        no_control,
    ],
)  # fmt: skip
def test_one_that_says_something_else_than_the_audit_is_refused(alter: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(ArtifactError, match="not what the audit and the manifest beside it say"):
        read(altered(alter))


@pytest.mark.parametrize(
    "alter",
    [
        lacking, unknown_key, infinite_share, markup, another_rule, other_number, share_above_one,
        outside_its_interval, text_for_a_number, too_many, deep, escape,
    ],
)  # fmt: skip
def test_a_hostile_one_is_refused_in_words_that_can_be_printed(alter: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(ArtifactError) as caught:
        read(altered(alter))
    assert str(caught.value).replace("\n", "").isprintable()
    assert "<script>" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"{" * 10_000,
        b'{"schema": 1, "schema": 1}',
        b'{"schema": NaN}',
        b'{"schema": 1e999}',
        b"\xff\xfe",
        b"[]",
        b" " * (MOST_BYTES + 1),
        stated().to_bytes() + b" ",
        stated().to_bytes().replace(b"0.0361", b"3.61e-2"),
    ],
    ids=["deep", "twice", "nan", "huge", "no text", "a list", "large", "a space more", "spelt otherwise"],
)
def test_what_medistill_does_not_write_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        read_statement({PRIVACY: data}, audit(), DIGEST, GUARANTEE)


def test_of_an_attack_of_another_version_the_controls_are_the_senders_word_and_the_figure_is_not() -> None:
    asked = Asked("epsilon", "at most", "number")
    unknown = Criterion("Lower bound", 3.0, 8.0, "pass", "", asked, "of tomorrow")
    whole = replace(audit(), criteria=(*audit().criteria, unknown))
    value = json.loads(privacy_statement(whole, DIGEST, GUARANTEE).to_bytes())
    value["attacks"][-1]["attacker_has"] = ["set", "insertion"]
    value["attacks"][-1]["findings"][0]["distilled_set"] = {"value": 3.0, "low": 2.0, "high": 4.0}
    value["attacks"][-1]["findings"][0]["positive_control"] = {"value": 9.0, "low": 8.0, "high": 10.0}
    found = read(value, whole)
    assert found is not None
    assert found.attacks[-1].findings[0].positive_control.value == 9
    value["attacks"][-1]["findings"][0]["distilled_set"]["value"] = 2.5
    with pytest.raises(ArtifactError, match="the attack of tomorrow"):
        read(value, whole)


def test_a_bundle_has_it_and_the_audit_on_a_page_and_is_refused_where_they_were_altered() -> None:
    said = Statement(licence="CC-BY-4.0", intended_use="Research.", acknowledged_risk="A test.")
    small = sent_bundle.small_set()
    files = pack(small, said, audit=replace(audit(), set_digest=small.digest()))
    bundle = Bundle.of_files(files)
    assert bundle.statement is not None
    assert bundle.statement.set_digest == small.digest()
    assert unconfirmed_pages(bundle) == ()
    assert b"`privacy.json`" in files["README.md"]
    value = json.loads(files[PRIVACY])
    value["verdict"] = "pass"
    bad = sent_bundle.listed_anew({**files, PRIVACY: f"{json.dumps(value, indent=2)}\n".encode()})
    with pytest.raises(ArtifactError, match=PRIVACY):
        Bundle.of_files(bad)
    page = files["audit.html"].replace(b"The set fails", b"The set passes")
    assert unconfirmed_pages(Bundle.of_files(sent_bundle.listed_anew({**files, "audit.html": page}))) == ("audit.html",)
    without = {name: held for name, held in sent_bundle.unsigned().items() if name != PRIVACY}
    assert Bundle.of_files(sent_bundle.listed_anew(without)).statement is None
    with pytest.raises(ArtifactError, match="no audit that it could show"):
        Bundle.of_files(sent_bundle.listed_anew({**without, "audit.html": b"<b>passed</b>"}))


@pytest.mark.parametrize(
    ("field", "why"),
    [({"figure": 0.0}, "another figure than its attack found"), ({"attack": "letters"}, "does not ask for it")],
)
def test_an_audit_whose_criteria_are_not_what_its_attacks_found_is_refused(field: dict[str, Any], why: str) -> None:
    known = audit()
    place = next(k for k, one in enumerate(known.criteria) if one.attack == "loss" and one.asked.key == "auc")
    criteria = list(known.criteria)
    criteria[place] = replace(criteria[place], **field)
    assert audit_of_bytes(audit_bytes(known)).verdict == known.verdict
    with pytest.raises(ArtifactError, match=why):
        audit_of_bytes(audit_bytes(replace(known, criteria=tuple(criteria))))


@pytest.mark.parametrize("images", [0, -1, 10**400])
def test_counts_that_no_audit_has_do_no_harm(images: int) -> None:
    known = audit()
    wrong = replace(known, copies=tuple(replace(one, images=images) for one in known.copies))
    with pytest.raises(ArtifactError):
        read_statement({PRIVACY: stated().to_bytes()}, audit_of_bytes(audit_bytes(wrong)), DIGEST, GUARANTEE)
