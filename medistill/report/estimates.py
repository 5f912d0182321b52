"""Estimates: the one place where a figure and its interval become text."""

from __future__ import annotations

from typing import Literal

from medistill.evaluate.intervals import Estimate
from medistill.report.wording import NARROW, NO_BREAK, difference, number, percent

Form = Literal["number", "difference", "share", "points"]
"""A plain number; one with its sign; a percentage; a signed difference of percentages, in points."""


def figure(value: float, form: Form = "number") -> str:
    """A figure without its interval: "0.907", "+0.012", "90.7 %", "+1.2"."""
    if form == "share":
        return percent(value)
    if form == "points":
        return difference(100 * value, 1)
    return difference(value) if form == "difference" else number(value)


def interval(estimate: Estimate, form: Form = "number") -> str:
    """The limits of an estimate, "0.812 to 0.901"; empty where it has none."""
    if estimate.low is None or estimate.high is None:
        return ""
    if form == "share":  # the unit stands once
        return _between(number(100 * estimate.low, 1), f"{number(100 * estimate.high, 1)}{NARROW}%")
    return _between(figure(estimate.low, form), figure(estimate.high, form))


def with_interval(estimate: Estimate, form: Form = "number", *, without: str = "no interval") -> str:
    """A figure with its limits: "0.907 (0.880 to 0.930)".

    Args:
        estimate: the figure; "not available" where it has no value.
        form: how numbers are written.
        without: what stands in place of the limits where there are none; nothing, not even brackets, where it is empty.
    """
    if estimate.value is None:
        return "not available"
    limits = interval(estimate, form) or without
    return f"{figure(estimate.value, form)} ({limits})" if limits else figure(estimate.value, form)


def _between(low: str, high: str) -> str:
    return f"{low}{NO_BREAK}to{NO_BREAK}{high}"
