"""Records: one form in JSON, read back only as what was written."""

from __future__ import annotations

import json
import math
from typing import ClassVar, Literal

import pytest
from pydantic import Field, ValidationError

from medistill.artifacts.record import Record
from medistill.errors import ArtifactError


class Part(Record):
    """A part."""

    name: str
    share: float
    counts: tuple[int, ...] = ()


class Whole(Record):
    """A file."""

    EXPECTED: ClassVar[str] = "a whole"
    DO: ClassVar[str] = "make it again"

    schema_number: Literal[3] = Field(default=3, alias="schema")
    kind: Literal["a test"] = "a test"
    parts: tuple[Part, ...]
    """Each one a part."""
    by: dict[str, Part]
    note: str | None = None


class Sparse(Record):
    needed: int | None
    told: str = ""
    part: Part | None = None


class Folder(Record):
    wholes: tuple[Whole, ...]


WHOLE = Whole(parts=(Part(name="a", share=0.5, counts=(1, 2)),), by={"x": Part(name="b", share=2)})


def test_a_record_comes_back_from_its_json_and_says_what_it_is() -> None:
    plain = json.loads(json.dumps(WHOLE.as_json()))
    assert list(plain)[:2] == ["schema", "kind"]
    assert (plain["schema"], plain["kind"], plain["note"]) == (3, "a test", None)
    assert plain["parts"] == [{"name": "a", "share": 0.5, "counts": [1, 2]}]
    assert Whole.from_json(plain, "a file") == WHOLE
    part = WHOLE.parts[0].as_json()
    assert "schema" not in part
    assert Part.from_json(part, "a part") == WHOLE.parts[0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"schema": 2}, "its schema is 2, not 3"),
        ({"schema": True}, "its schema is True, not 3"),
        ({"kind": "another"}, "kind: Input should be 'a test'"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
        ({"by": {"x": {"name": "b", "share": "2"}}}, "by.x.share: Input should be a valid number"),
        ({"by": {"x": {"name": "b", "share": math.inf}}}, "by.x.share: Input should be a finite number"),
        ({"parts": [{"name": "a", "share": 1, "counts": [1.5]}]}, "parts.0.counts.0"),
        ({"parts": [{"name": "a", "share": 1, "counts": [True]}]}, "parts.0.counts.0"),
        ({"note": {1, 2}}, "no place in JSON"),
    ],
)
def test_what_is_no_such_record_is_refused_with_the_field_and_what_to_do(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ArtifactError, match="a-file cannot be used") as told:
        Whole.from_json({**WHOLE.as_json(), **changes}, "a-file")
    assert why in told.value.seen
    assert (told.value.expected, told.value.do) == ("a whole", "make it again")


@pytest.mark.parametrize("value", [None, [], "text", 3, {}])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(ArtifactError, match="a-file cannot be used"):
        Whole.from_json(value, "a-file")


def test_values_nested_without_end_are_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ArtifactError, match="a-file cannot be used"):
        Part.from_json({"name": deep, "share": 1}, "a-file")


def test_what_is_not_known_does_not_appear_where_that_is_asked() -> None:
    assert Sparse(needed=None).as_json() == {"needed": None, "told": "", "part": None}
    assert Sparse(needed=None).sparse_json() == {"needed": None}
    told = Sparse(needed=1, told="x", part=Part(name="a", share=0.0))
    assert told.sparse_json() == {"needed": 1, "told": "x", "part": {"name": "a", "share": 0.0, "counts": []}}
    assert Sparse.from_json(told.sparse_json(), "a file") == told


def test_a_file_within_another_keeps_its_number_and_is_held_to_it() -> None:
    folder = Folder(wholes=(WHOLE,))
    told = folder.as_json()
    assert told == {"wholes": [WHOLE.as_json()]}
    assert Folder.from_json(told, "a folder") == folder
    for wrong in (2, True, "3", None):
        told["wholes"][0]["schema"] = wrong
        with pytest.raises(ArtifactError, match=r"wholes\.0\.schema: Input should be 3"):
            Folder.from_json(told, "a folder")


def test_a_changed_copy_is_checked_and_the_record_stays_as_it_was() -> None:
    assert WHOLE.parts[0].replaced(share=0.25) == Part(name="a", share=0.25, counts=(1, 2))
    assert WHOLE.parts[0].share == 0.5
    with pytest.raises(ValidationError):
        WHOLE.parts[0].replaced(share="much")
    with pytest.raises(ValidationError):
        WHOLE.parts[0].share = 1.0  # type: ignore[misc]


def test_the_meaning_of_a_field_is_the_string_below_it() -> None:
    assert Whole.model_json_schema()["properties"]["parts"]["description"] == "Each one a part."
