"""HTML of words and values: everything that may stand in a sentence or in a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup, escape

from medistill.evaluate.intervals import Estimate
from medistill.recipe.arms import ArmName
from medistill.report.arm_style import ARM_STYLES
from medistill.report.estimates import Form, figure, interval
from medistill.report.kinds import Kind
from medistill.report.notes import Notes
from medistill.report.text import (
    Absent,
    Below,
    Code,
    Inline,
    Link,
    Missing,
    Note,
    Point,
    Small,
    SoftHyphen,
    Strong,
    Text,
    Unavailable,
    Unbroken,
    Value,
)
from medistill.report.wording import class_label, count, number, percent, seconds, size, thresholds

LINE = Markup(
    '<svg class="key" viewBox="0 0 30 10" aria-hidden="true">'
    '<line x1="1" y1="5" x2="29" y2="5" stroke="var(--{arm})" stroke-width="3"{dashes}/></svg>'
)
POINT = Markup(
    '<svg class="key point" viewBox="-1 -1 14 14" aria-hidden="true">'
    '<path d="{path}" fill="{fill}" stroke="var(--{arm})" stroke-width="1.6"/></svg>'
)


class Writer:
    """Writes words and values; the reasons why figures are missing it collects as notes.

    Args:
        notes: of the page so far.
    """

    def __init__(self, notes: Notes) -> None:
        self.notes = notes

    def text(self, text: Text) -> Markup:
        """Words, with what is to be told apart in them."""
        parts = text if isinstance(text, tuple) else (text,)
        return Markup("").join(INLINE[type(part)](self, part) for part in parts)

    def value(self, kind: Kind, value: Any, digits: int = 3) -> Markup:
        """A value of a kind; what says of itself what it is keeps to that."""
        if isinstance(value, str) and kind not in ("class", "arm"):
            return escape(value)
        says_itself = type(value) in INLINE if not isinstance(value, tuple) else kind != "thresholds"
        if says_itself and not isinstance(value, str):
            return self.text(value)
        return VALUES[kind](self, value, digits)

    def missing(self, reason: str) -> Markup:
        """In place of a figure."""
        return Markup('<span class="none">not available</span>{}').format(self.note(reason) if reason else "")

    def note(self, reason: str) -> Markup:
        """A mark that leads to the reason."""
        k = self.notes.number(reason)
        return Markup('<a class="note" href="#note-{0}" aria-label="Note {0}">{0}</a>').format(k)

    def estimate(self, estimate: Estimate, form: Form) -> Markup:
        """A figure, and below it its interval or that there is none."""
        if estimate.value is None:
            return self.missing(estimate.reason)
        limits = interval(estimate, form) or Markup("no interval{}").format(self.note(estimate.reason))
        return Markup('{} <span class="ci">{}</span>').format(figure(estimate.value, form), limits)

    def bare(self, estimate: Estimate, form: Form) -> Markup:
        """A figure without its interval."""
        return self.missing(estimate.reason) if estimate.value is None else escape(figure(estimate.value, form))

    def limits(self, estimate: Estimate) -> Markup:
        """An interval alone."""
        limits = interval(estimate)
        return Markup('<span class="nowrap">{}</span>').format(limits) if limits else self.missing(estimate.reason)


def key(arm: ArmName) -> Markup:
    """The line of an arm in figures."""
    dashes = ARM_STYLES[arm].key_dash
    return LINE.format(arm=arm, dashes=Markup(' stroke-dasharray="{}"').format(dashes) if dashes else "")


def point(of: Point) -> Markup:
    """The point of an arm in figures."""
    fill = f"var(--{of.arm})" if of.full else "none"
    return POINT.format(path=ARM_STYLES[of.arm].path, fill=fill, arm=of.arm)


def named(arm: ArmName) -> Markup:
    """An arm with its line."""
    return Markup('<span class="named">{}{}</span>').format(key(arm), ARM_STYLES[arm].display_name)


def _tagged(template: str) -> Callable[[Writer, Any], Markup]:
    return lambda _, part: Markup(template).format(part.text)  # noqa: S704  # the templates stand below


INLINE: Mapping[type[Inline], Callable[[Writer, Any], Markup]] = {
    str: lambda _, part: escape(part),
    Code: _tagged("<code>{}</code>"),
    Strong: _tagged("<strong>{}</strong>"),
    Small: _tagged('<span class="small">{}</span>'),
    Unbroken: _tagged('<span class="nowrap">{}</span>'),
    Unavailable: _tagged('<span class="none">{}</span>'),
    SoftHyphen: lambda _, _part: Markup("&shy;"),
    Below: lambda _, part: Markup('<span class="{}">{}</span>').format("ci why" if part.wraps else "ci", part.text),
    Link: lambda _, part: Markup('<a href="#{}">{}</a>').format(part.anchor, part.text),
    Missing: lambda writer, part: writer.missing(part.reason),
    Absent: lambda _, part: Markup('<span class="none">Not available</span>: {}.').format(part.reason),
    Note: lambda writer, part: writer.note(part.reason),
    Point: lambda _, part: point(part),
    Value: lambda writer, part: writer.value(part.kind, part.value, part.digits),
}
"""What may stand in a sentence -> how it is written."""
VALUES: Mapping[Kind, Callable[[Writer, Any, int], Markup]] = {
    "text": lambda writer, value, _: writer.text(value),
    "class": lambda _, value, _digits: escape(class_label(value)),
    "arm": lambda _, value, _digits: named(value),
    "count": lambda _, value, _digits: escape(count(value)),
    "number": lambda _, value, digits: escape(number(value, digits)),
    "percent": lambda _, value, _digits: escape(percent(value)),
    "general": lambda _, value, _digits: escape(f"{value:.3g}"),
    "seconds": lambda _, value, _digits: Markup('<span class="nowrap">{}</span>').format(seconds(value)),
    "size": lambda _, value, _digits: Markup('<span class="nowrap">{}</span>').format(size(value)),
    "thresholds": lambda _, value, _digits: escape(thresholds(value)),
    "estimate": lambda writer, value, _: writer.estimate(value, "number"),
    "difference": lambda writer, value, _: writer.estimate(value, "difference"),
    "share": lambda writer, value, _: writer.estimate(value, "share"),
    "points": lambda writer, value, _: writer.estimate(value, "points"),
    "bare": lambda writer, value, _: writer.bare(value, "number"),
    "bare share": lambda writer, value, _: writer.bare(value, "share"),
    "limits": lambda writer, value, _: writer.limits(value),
}
"""Kind -> how a value of it is written, with so many digits behind the point."""
