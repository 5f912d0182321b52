"""What every section of a recipe is, and the kinds of number in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from medistill.visible import MOST_NAME, steers


def without_steering(text: str) -> str:
    """The text, if nothing in it steers a terminal.

    Raises:
        ValueError: something does.
    """
    if steers(text):
        raise ValueError("a text without control characters")
    return text


Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
MOST_NUMBER = 10**9
"""Largest number of anything: above it a number is a slip, and would not fit where it is used."""
Count = Annotated[int, Field(ge=1, le=MOST_NUMBER)]
CountOrNone = Annotated[int, Field(ge=0, le=MOST_NUMBER)]
"""A count, or 0, which stands for something else."""
Text = Annotated[str, Field(max_length=MOST_NAME), AfterValidator(without_steering)]
"""A name that somebody chose, on one line."""
Names = Annotated[tuple[Text, ...], Field(max_length=10_000)]


@dataclass(frozen=True)
class AtMost:
    """Stands at a setting that costs work: the largest value that a recipe from outside may give it."""

    value: int


class Section(BaseModel):
    """A frozen part of a recipe that admits no key it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Describe a setting that only got another default as the section does that had it first."""
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            for base in cls.__mro__[1:]:
                if field.description is None and issubclass(base, Section) and name in base.model_fields:
                    field.description = base.model_fields[name].description
