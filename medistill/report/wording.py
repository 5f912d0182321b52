"""Wording: how the report writes numbers, intervals, times and counts."""

from __future__ import annotations

from collections.abc import Sequence

from medistill.evaluate.intervals import Estimate
from medistill.evaluate.predictions import Arm

MINUS = "\u2212"
NO_BREAK = "\u00a0"
NARROW = "\u202f"
"""Narrow space that does not break: between a number and its unit, and between thousands."""
NAMED = 20
"""Most classes that a sentence names."""
ARM_NAMES: dict[Arm, str] = {
    "distilled": "Distilled images",
    "raw": "All originals",
    "random": "Random originals",
    "kmeans": "Chosen originals",
    "hard": "Distilled, hard labels",
}


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


def interval(estimate: Estimate, *, sign: bool = False, share: bool = False, points: bool = False) -> str:
    """The limits of an estimate, "0.812 to 0.901"; empty where it has none.

    Args:
        sign: write the sign of each limit.
        share: write percentages.
        points: write signed differences of percentages.
    """
    if estimate.low is None or estimate.high is None:
        return ""
    if points:
        return f"{difference(100 * estimate.low, 1)}{NO_BREAK}to{NO_BREAK}{difference(100 * estimate.high, 1)}"
    if share:
        return f"{number(100 * estimate.low, 1)}{NO_BREAK}to{NO_BREAK}{number(100 * estimate.high, 1)}{NARROW}%"
    write = difference if sign else number
    return f"{write(estimate.low, 3)}{NO_BREAK}to{NO_BREAK}{write(estimate.high, 3)}"


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


def counted_as(unit: str) -> str:
    """How a page calls what it counts as patients, where it knows what that is."""
    return f"{plural_of(unit)} counted as patients" if unit in ("study", "image") else "patients"


def seconds(value: float) -> str:
    """A duration: "4.2 s", "3 min 20 s", "2 h 5 min"."""
    if value < 10:
        return f"{value:.1f}{NARROW}s"
    whole = round(value)
    if whole < 60:
        return f"{whole}{NARROW}s"
    if whole < 3600:
        return f"{whole // 60}{NARROW}min {whole % 60}{NARROW}s"
    return f"{whole // 3600}{NARROW}h {whole % 3600 // 60}{NARROW}min"


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
