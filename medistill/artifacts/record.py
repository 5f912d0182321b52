"""Record: what every JSON object that is written and read again is made of. Arrays have no place in one.

A record is frozen, knows each of its keys, and holds each value as the kind that its field names: a text that looks
like a number is none, and no number is infinite. What a field means stands in the string below it, from where reference
and JSON Schemas have it. A record that is a file of its own gives the number of its format as `SCHEMA`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from medistill.errors import ArtifactError, first_complaint

ENVELOPE = ("schema", "kind")
"""Keys of a file that say what it is; they stand before the record's own."""


class Record(BaseModel):
    """A frozen record with one form in JSON."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    SCHEMA: ClassVar[int | None] = None
    """Number of the format; None where the record is only a part of others."""
    KIND: ClassVar[str] = ""
    """What a file says that it is; empty where it says no more than its number."""
    EXPECTED: ClassVar[str] = "a record as this version of medistill writes it"
    """What would have been right, in the error about one that cannot be read."""
    DO: ClassVar[str] = "repeat the command that wrote it"
    """What to do then."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values, null for what is not known."""
        kind = {"kind": self.KIND} if self.KIND else {}
        envelope = {} if self.SCHEMA is None else {"schema": self.SCHEMA, **kind}
        return {**envelope, **self.model_dump(mode="json")}

    @classmethod
    def from_json(cls, value: object, origin: str) -> Self:
        """Return the record whose `as_json` these plain values are; ``origin`` names the file in messages.

        Raises:
            ArtifactError: no such record, or one of another schema.
        """
        if cls.SCHEMA is not None and isinstance(value, Mapping):
            found = value.get("schema")
            if type(found) is not int or found != cls.SCHEMA:
                raise cls.unusable(origin, f"its schema is {found!r:.20}, not {cls.SCHEMA}")
            value = {name: entry for name, entry in value.items() if name not in ENVELOPE}
        try:
            return cls.model_validate_json(json.dumps(value))
        except ValidationError as error:
            raise cls.unusable(origin, first_complaint(error)) from None
        except (ValueError, TypeError, RecursionError) as error:
            raise cls.unusable(origin, f"a value of it has no place in JSON ({type(error).__name__})") from None

    @classmethod
    def unusable(cls, origin: str, why: str) -> ArtifactError:
        """Return the error that says why what ``origin`` names is no such record."""
        return ArtifactError(f"{origin} cannot be used: {why}", expected=cls.EXPECTED, do=cls.DO)

    def replaced(self, **changes: Any) -> Self:
        """Return the same with other values in these fields, checked as the first were.

        Raises:
            ValidationError: a value is not of its field's kind.
        """
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | changes)


class SparseRecord(Record):
    """A record in whose JSON what is not known does not appear: a key is left out where its field has its default."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value
            for name, value in handler(self).items()
            if fields[name].is_required() or getattr(self, name) != fields[name].default
        }
