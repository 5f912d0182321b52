"""A manifest has one spelling, and says nothing that its schema does not know."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medistill.artifacts.provenance import SharedProvenance
from medistill.errors import ArtifactError
from medistill.sharing.manifest import BundleManifest, FileRecord, SetRecord

WORDS = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=40)


def manifest(**changes: object) -> BundleManifest:
    values: dict[str, object] = {
        "files": {"labels.csv": FileRecord(sha256="a" * 64, bytes=12)},
        "set": SetRecord(class_names=("Normal",), shape=(2, 1, 8, 8), ipc=2, per_class={"Normal": 2}),
        "provenance": SharedProvenance(method="IADD", recipe={"seed": 3, "data": {"channels": 1}}, starts_from="noise"),
        "privacy": None,
        "audit": None,
        "acknowledged_risk": "a test",
        "intended_use": "Research",
        "licence": "CC-BY-4.0",
        "sender": "",
    }
    return BundleManifest(**{**values, **changes})


@given(use=WORDS.filter(str.strip), sender=WORDS, month=st.none() | st.sampled_from(["2026-11", "1999-01"]))
def test_what_is_written_is_read_again(use: str, sender: str, month: str | None) -> None:
    written = manifest(intended_use=use, sender=sender, month=month)
    assert BundleManifest.from_bytes(written.to_bytes()) == written
    assert ("month" in json.loads(written.to_bytes())) == (month is not None)


@pytest.mark.parametrize(
    "respell",
    [
        lambda data: data.replace(b'"schema": 1', b'"schema":  1'),
        lambda data: data.rstrip(),
        lambda data: data.replace(b'"sender": ""', b'"sender": "x",\n  "sender": ""'),
        lambda data: json.dumps(dict(reversed(json.loads(data).items())), indent=2).encode() + b"\n",
        lambda data: data.replace(b"Research", b"\\u0052esearch"),
        lambda data: data.replace(b'"bytes": 12', b'"bytes": 12.0'),
    ],
)
def test_another_spelling_is_refused(respell) -> None:
    data = respell(manifest().to_bytes())
    assert data != manifest().to_bytes()
    with pytest.raises(ArtifactError):
        BundleManifest.from_bytes(data)


@pytest.mark.parametrize("schema", [0, 2, "1", True, None])
def test_another_schema_is_refused_with_what_to_do(schema: object) -> None:
    plain = json.loads(manifest().to_bytes())
    plain["schema"] = schema
    with pytest.raises(ArtifactError, match="version of medistill that wrote it"):
        BundleManifest.from_bytes(json.dumps(plain).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"intended_use": ""},
        {"intended_use": "two\nlines"},
        {"sender": "St Example\u202egnp.exe"},
        {"sender": "\x1b[2J"},
        {"licence": "x" * 201},
        {"month": "2026-13"},
        {"month": "2026-11-21"},
        {"host": "ward-7"},
    ],
)
def test_what_the_schema_does_not_know_cannot_be_written(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        manifest(**changes)


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", " =1+1", "@SUM(1)", "+cmd|'x'!A0", "-2+3+cmd|' /C'!A0", "＝1"])
def test_a_class_that_a_table_program_would_run_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="formula"):
        SetRecord(class_names=(name,), shape=(2, 1, 8, 8), ipc=2, per_class={"Normal": 2})


@pytest.mark.parametrize("name", ["-1", "+ve", "a=b", "Covid-19", "< 5 mm"])
def test_other_signs_in_a_class_are_not(name: str) -> None:
    assert SetRecord(class_names=(name,), shape=(2, 1, 8, 8), ipc=2, per_class={name: 2}).class_names == (name,)


@pytest.mark.parametrize("recipe", [{"data": {"classes": ["\x1b[2J"]}}, {"\u202e": 1}, {"a": [{"b": "x\ny"}]}])
def test_a_recipe_cannot_steer_the_terminal_either(recipe: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="cannot be seen"):
        SharedProvenance(recipe=recipe)


def test_a_risk_is_not_acknowledged_by_saying_nothing() -> None:
    for risk in ("", "  "):
        with pytest.raises(ValidationError, match="acknowledged_risk"):
            manifest(acknowledged_risk=risk)
