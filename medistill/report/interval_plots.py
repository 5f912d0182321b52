"""Interval plots: estimates as points on lines, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medistill.evaluate.intervals import Estimate
from medistill.recipe.arms import ArmName
from medistill.report.arm_style import ARM_STYLES
from medistill.report.axes import framed, named, room_for, rows
from medistill.report.palette import ACCENT, FAINT, MARGIN, MUTED, PAPER

WIDTH = 3.8
"""Of a figure, in inches."""


@dataclass(frozen=True)
class Mark:
    """One estimate in a row.

    Attributes:
        estimate: nothing is drawn where it has no value.
        ink: its mark of the palette.
        shape: of the point.
        filled: a full point rather than an outline.
        strong: drawn larger.
    """

    estimate: Estimate
    ink: str = ACCENT
    shape: str = "o"
    filled: bool = True
    strong: bool = False


@dataclass(frozen=True)
class PlotRow:
    """A row of a plot; one without marks is a heading.

    Attributes:
        name: on its left.
        marks: from top to bottom.
    """

    name: str
    marks: tuple[Mark, ...] = ()


def arm_mark(arm: ArmName, estimate: Estimate, *, filled: bool = True, strong: bool = False) -> Mark:
    """An estimate of an arm, drawn as that arm is."""
    style = ARM_STYLES[arm]
    return Mark(estimate, style.mark, style.marker, filled, strong)


def plot_arms(entries: Sequence[tuple[str, Mapping[ArmName, Estimate]]]) -> Figure:
    """Macro AUC: a row for each entry with its arms below each other."""
    shown = [
        PlotRow(name, tuple(arm_mark(arm, areas[arm], strong=arm == "distilled") for arm in ARM_STYLES if arm in areas))
        for name, areas in entries
    ]
    return plot(shown, "Macro AUC")


def plot_differences(shown: Sequence[PlotRow], margin: float | None) -> Figure:
    """A plot around 0, as far to the left as to the right."""
    ends = [end for row in shown for mark in row.marks for end in ends_of(mark.estimate)]
    reach = 1.12 * max([abs(end) for end in ends] + [margin or 0.02])
    dashed = None if margin is None else -margin
    return plot(shown, "worse  ←  difference in AUC  →  better", limits=(-reach, reach), solid=0, dashed=dashed)


def plot(
    shown: Sequence[PlotRow],
    label: str,
    *,
    limits: tuple[float, float] | None = None,
    solid: float | None = None,
    dashed: float | None = None,
) -> Figure:
    """Rows of estimates below each other.

    Args:
        shown: from top to bottom.
        label: what the axis shows.
        limits: of the axis; None takes what the estimates need.
        solid: where a solid upright line stands.
        dashed: where a dashed one stands.
    """
    places, depth = [], 0.0
    for row in shown:
        height = 0.3 if len(row.marks) < 2 else 0.13 * len(row.marks) + 0.17
        places.append(depth + height / 2)
        depth += height
    left = room_for([row.name for row in shown])
    figure, axes = framed(max(WIDTH, left + 2.3), depth + 0.56, left=left)
    if solid is not None:
        axes.axvline(solid, color=MUTED, linewidth=1)
    if dashed is not None:
        axes.axvline(dashed, color=MARGIN, linewidth=1.4, linestyle=(0, (4, 3)))
    for place, row in zip(places, shown, strict=True):
        for k, mark in enumerate(row.marks):
            _draw(axes, place + 0.13 * (k - (len(row.marks) - 1) / 2), mark)
        if len(row.marks) > 1 and row is not shown[-1]:
            axes.axhline(place + 0.065 * len(row.marks) + 0.085, color=FAINT, linewidth=0.5)
    axes.set_ylim(depth, 0)
    rows(axes, places, [row.name for row in shown])
    for name, row in zip(axes.get_yticklabels(), shown, strict=True):
        if not row.marks:
            name.set_fontweight("bold")
    if limits is not None:
        axes.set_xlim(limits)
        axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True, steps=[1, 2, 2.5, 5, 10]))
    named(axes, label)
    return figure


def _draw(axes: Axes, height: float, mark: Mark) -> None:
    estimate = mark.estimate
    if estimate.value is None:
        return
    if estimate.low is not None and estimate.high is not None:
        width = 2.6 if mark.strong else 1.5
        axes.plot(
            [estimate.low, estimate.high], [height, height], color=mark.ink, linewidth=width, solid_capstyle="butt"
        )
    axes.plot(
        [estimate.value],
        [height],
        mark.shape,
        color=mark.ink,
        markersize=6 if mark.strong else 4.6,
        markerfacecolor=mark.ink if mark.filled else PAPER,
        markeredgewidth=1.3,
    )


def ends_of(estimate: Estimate) -> list[float]:
    """What of an estimate lies on a plot."""
    return [end for end in (estimate.value, estimate.low, estimate.high) if end is not None]
