"""Axes: one quiet set a figure, drawn by matplotlib without its global state, margins in inches."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from medistill.report.palette import FAINT, INK, MUTED

SIZE = 9.0
"""Height of the letters, in points; 72 units of a drawing are an inch."""
LETTER = 0.072
"""Mean width of a letter of that height, in inches; the reader's own fonts draw them."""
DECADES = 30.0
"""Ratio of largest to least value from which a scale is logarithmic."""
_TOP, _BOTTOM = 0.1, 0.46


def framed(width: float, height: float, *, left: float = 0.56, right: float = 0.12) -> tuple[Figure, Axes]:
    """A figure of ``width`` by ``height`` inches with one set of axes, margins ``left`` and ``right``."""
    figure = Figure(figsize=(width, height))
    axes: Axes = figure.add_axes(
        (left / width, _BOTTOM / height, (width - left - right) / width, (height - _TOP - _BOTTOM) / height)
    )
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=SIZE, width=0.8, length=3)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    return figure, axes


def named(axes: Axes, x: str, y: str = "") -> None:
    """Write what the axes show."""
    axes.set_xlabel(x, color=INK, fontsize=SIZE)
    axes.set_ylabel(y, color=INK, fontsize=SIZE)


def rows(axes: Axes, places: Sequence[float], names: Sequence[str]) -> None:
    """Name rows on the left, without a line there."""
    axes.set_yticks(places, labels=[cut(name) for name in names], parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def spread_out(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic scale where the values span decades."""
    if min(values) > 0 and max(values) > DECADES * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.ticklabel_format(axis="y", useOffset=False)


def room_for(names: Sequence[str]) -> float:
    """Width of the longest name in inches, with a little space beside it."""
    return 0.16 + LETTER * max((_letters(cut(name)) for name in names), default=0)


def cut(name: str, longest: int = 28) -> str:
    """A name that fits beside a drawing."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _letters(name: str) -> int:
    """Letters of a name, those of East Asian scripts counted twice."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)
