"""Record: what every JSON object that is written and read again is made of. Arrays have no place in one.

A record is frozen, knows each of its keys, and holds each value as the kind that its field names: a text that looks
like a number is none, and no number is infinite. What a field means stands in the string below it, from where reference
and JSON Schemas have it. A record that is a file of its own begins with the number of its format, and may say its kind:

    schema_number: Literal[2] = Field(default=2, alias="schema")
    kind: Literal["medistill report"] = "medistill report"
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from medistill.errors import ArtifactError, first_complaint

NUMBER = "schema_number"
"""Field of the number of a format."""


class Record(BaseModel):
    """A frozen record with one form in JSON."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    EXPECTED: ClassVar[str] = "a record as this version of medistill writes it"
    """What would have been right, in the error about one that cannot be read."""
    DO: ClassVar[str] = "repeat the command that wrote it"
    """What to do then."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values, null for what is not known."""
        fields = type(self).model_fields
        return {field.alias or name: plain(getattr(self, name)) for name, field in fields.items()}

    def sparse_json(self) -> dict[str, Any]:
        """Return the same without the keys whose field has its default."""
        known = {name: field for name, field in type(self).model_fields.items() if name != NUMBER}
        left_out = {
            name for name, field in known.items() if not field.is_required() and getattr(self, name) == field.default
        }
        return {name: value for name, value in self.as_json().items() if name not in left_out}

    @classmethod
    def from_json(cls, value: object, origin: str) -> Self:
        """Return the record whose `as_json` these plain values are; ``origin`` names the file in messages.

        Raises:
            ArtifactError: no such record, or one of another schema.
        """
        if NUMBER in cls.model_fields:
            found, number = (
                value.get("schema") if isinstance(value, Mapping) else None,
                cls.model_fields[NUMBER].default,
            )
            if type(found) is not int or found != number:
                raise cls.unusable(origin, f"its schema is {found!r:.20}, not {number}")
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
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields if name != NUMBER} | changes)


def plain(value: Any) -> Any:
    """Return what JSON makes of a value: records, mappings and sequences as objects and lists, others as they are."""
    if isinstance(value, Record):
        return value.as_json()
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value
