"""Wording: how the report writes numbers, times, counts and lists."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medistill.pace import duration

MINUS = "\u2212"
NO_BREAK = "\u00a0"
NARROW = "\u202f"
"""Narrow space that does not break: between a number and its unit, and between thousands."""
BYTES = ("bytes", "kB", "MB", "GB", "TB")
NAMED = 20
"""Most classes that a sentence names."""


def number(value: float, digits: int = 3) -> str:
    """A number with a real minus sign."""
    text = f"{abs(value):.{digits}f}"
    return f"{MINUS}{text}" if value < 0 and float(text) != 0 else text


def short(value: float) -> str:
    """A setting as a person would write it: 0.05, not 0.050."""
    text = f"{abs(value):g}"
    return f"{MINUS}{text}" if value < 0 else text


def difference(value: float, digits: int = 3) -> str:
    """A number with its sign."""
    text = number(value, digits)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def percent(value: float, digits: int = 1) -> str:
    """A share as a percentage."""
    return f"{number(100 * value, digits)}{NARROW}%"


def level(confidence: float) -> str:
    """Such as "95 % interval"."""
    return f"{f'{100 * confidence:.1f}'.removesuffix('.0')}{NARROW}% interval"


def count(value: int) -> str:
    """A whole number with thousands set apart."""
    return f"{value:,}".replace(",", NARROW)


def counted(value: int, singular: str, plural: str = "") -> str:
    """A count and its noun in the right number."""
    return f"{count(value)}{NO_BREAK}{singular if value == 1 else plural or plural_of(singular)}"


def plural_of(singular: str) -> str:
    """The plural of a noun."""
    return "studies" if singular == "study" else f"{singular}s"


def were(value: int) -> str:
    """The verb in the past behind a count."""
    return "was" if value == 1 else "were"


def counted_as(unit: str) -> str:
    """How a page calls what it counts as patients, where it knows what that is."""
    return f"{plural_of(unit)} counted as patients" if unit in ("study", "image") else "patients"


def seconds(value: float) -> str:
    """A duration: "4.2 s", "3 min 20 s", "2 h 5 min"."""
    if value < 10:
        return f"{value:.1f}{NARROW}s"
    return re.sub(r"(?<=\d) ", NARROW, duration(value))


def size(value: int) -> str:
    """A number of bytes as people write it, in powers of 1,000."""
    scaled, unit = float(value), 0
    while scaled >= 999.5 and unit < len(BYTES) - 1:
        scaled, unit = scaled / 1000, unit + 1
    return f"{number(scaled, 1 if unit and scaled < 99.95 else 0)}{NARROW}{BYTES[unit]}"


def listed(names: Sequence[str], word: str = "and") -> str:
    """Names in a sentence: "a, b and c"; or with another ``word`` between the last two."""
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def sentences(*parts: str) -> str:
    """Sentences behind each other, empty ones left out, with plain spaces, so that they can be pasted anywhere."""
    return " ".join(part for part in parts if part).replace(NO_BREAK, " ").replace(NARROW, " ")


def classes_listed(names: Sequence[str]) -> str:
    """Classes in a sentence: "3 classes: a, b and c"; many are only counted."""
    text = counted(len(names), "class", "classes")
    return f"{text}: {listed([class_label(name) for name in names])}" if len(names) <= NAMED else text


def class_label(name: str) -> str:
    """A class as people write it: folders use underscores."""
    return name.replace("_", " ")


def thresholds(values: Sequence[float]) -> str:
    """Mean of the networks' thresholds, and their range."""
    if not values:
        return ""
    mean = sum(values) / len(values)
    return (
        number(mean, 2)
        if len(values) == 1
        else f"{number(mean, 2)} ({number(min(values), 2)} to {number(max(values), 2)})"
    )
