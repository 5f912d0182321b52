"""Kinds of values in records that come from outside: texts of one line and of a bounded length, digests, counts."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from medistill.artifacts.atomic import deeper_than

DEEPEST = 32
"""Levels of lists and tables in what a set says of its making."""
HIDDEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
"""Unicode's categories of characters that break lines, steer a terminal, or turn text around."""
FORMULA = re.compile(r"\s*([=@\uff1d\uff20]|[-+\uff0d\uff0b].*[(|!])")
"""How a text begins that a table program calculates or runs. A sign alone, as in -1 or +ve, does no harm."""


def _one_line(text: str) -> str:
    if any(unicodedata.category(character) in HIDDEN for character in text):
        raise ValueError("it holds a line break or a character that cannot be seen")
    return text


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("it says nothing")
    return text


def _no_formula(name: str) -> str:
    if FORMULA.match(name):
        raise ValueError("a table program would take it for a formula, since labels.csv holds it")
    return name


def _lines_throughout(value: Any) -> Any:
    """Check every text in plain values, the names too."""
    if isinstance(value, str):
        _one_line(value)
    for part in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        _lines_throughout(part)
    return value


def _shallow(value: Any) -> Any:
    if deeper_than(value, DEEPEST):
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    return value


Line = Annotated[str, Field(max_length=2000), AfterValidator(_one_line)]
Use = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_one_line), AfterValidator(_said)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
ClassName = Annotated[Name, AfterValidator(_no_formula)]
Settings = Annotated[dict[str, Any], AfterValidator(_shallow), AfterValidator(_lines_throughout)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{4}( [0-9a-f]{4}){7}$")]
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z.+_-]{1,64}$")]
Month = Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
Count = Annotated[int, Field(ge=0)]
Whole = Annotated[int, Field(ge=1)]
