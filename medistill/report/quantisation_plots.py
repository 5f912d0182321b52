"""Quantisation plots: how many patients are in a cell, and how the distance to a class falls with more centroids."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from medistill.quantisation.record import ClassQuantisation, Quantisation, RatePoint
from medistill.report.axes import DECADES, SIZE, cut, framed, named, room_for
from medistill.report.palette import ACCENT, CLASS_LINES, INK, MARGIN, PAPER
from medistill.report.quantisation_statements import mean_rate, rate_slope
from medistill.report.wording import class_label, number, plural_of

WIDTH, HEIGHT = 3.4, 2.5
"""Of a figure, in inches, so that a phone shows it at full size."""
BARS = 20
"""Most bars of the histogram."""
APART = 0.1
"""Least distance of two names beside the lines, as a share of the axes' height."""


def cells(quantisation: Quantisation) -> Figure:
    """Histogram of the patients in a cell, over all classes, with the fewest that were asked for."""
    figure, axes = framed(WIDTH, HEIGHT)
    held = [patients for of_class in quantisation.classes for patients in of_class.cell_patients]
    edges = cell_edges(held, quantisation.min_cluster_size)
    axes.hist(held, bins=edges, color=ACCENT, edgecolor=PAPER, linewidth=0.6)
    axes.axvline(quantisation.min_cluster_size, color=MARGIN, linewidth=1.4, linestyle=(0, (4, 3)))
    if edges[-1] > DECADES * edges[0]:
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis, 9)
    else:
        axes.set_xlim(left=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    named(axes, f"{plural_of(quantisation.patient_unit).capitalize()} in a cell", "Distilled images")
    return figure


def cell_edges(held: Sequence[int], least: int) -> list[int]:
    """Whole numbers between which the bars lie, from ``least`` on; ever wider where the counts span decades."""
    first, past = min(least, *held), max(held) + 1
    if past > DECADES * first:
        grown = np.geomspace(first, past, BARS + 1).round().astype(int)
        return sorted({int(edge) for edge in grown})
    step = math.ceil((past - first) / BARS)
    return [*range(first, past, step), first + step * math.ceil((past - first) / step)]


def rate(quantisation: Quantisation) -> Figure:
    """W2 over the number of centroids, both logarithmic: a line a class, or the mean of many, and this set's points."""
    lines = rate_lines(quantisation)
    names = [_with_slope(name, points) for name, points, _ in lines]
    left, right = 0.62, 0.2 + room_for(names)
    figure, axes = framed(max(WIDTH, left + 2.2 + right), HEIGHT, left=left, right=right)
    axes.set(xscale="log", yscale="log")
    for (_, points, _), (marker, dashes) in zip(lines, CLASS_LINES, strict=False):
        axes.plot(
            [point.centroids for point in points],
            [point.w2 for point in points],
            color=ACCENT, linestyle=dashes, linewidth=1.3, marker=marker, markersize=3.6,
        )  # fmt: skip
    for _, _, chosen in lines:
        axes.plot([chosen.centroids], [chosen.w2], marker="D", color=MARGIN, markersize=6.5, linestyle="none")
    axes.axvline(max(chosen.centroids for _, _, chosen in lines), color=MARGIN, linewidth=1.1, linestyle=(0, (4, 3)))
    for axis in (axes.xaxis, axes.yaxis):
        _plain_numbers(axis, 5)
    _named_at_the_right(axes, names, [points[-1] for _, points, _ in lines])
    named(axes, "Images a class, K", "W2, grey levels" if quantisation.grey_codes else "W2, units of the code")
    return figure


def rate_lines(quantisation: Quantisation) -> list[tuple[str, tuple[RatePoint, ...], RatePoint]]:
    """Name, points with a distance, and what this set has: of every class, or of the mean where there are many."""
    if len(quantisation.classes) > len(CLASS_LINES):
        shown = [("Mean", mean_rate(quantisation.classes), _mean_chosen(quantisation))]
    else:
        shown = [(class_label(one.class_name), one.rate, _chosen(one)) for one in quantisation.classes]
    lines = [(name, tuple(point for point in points if point.w2 > 0), chosen) for name, points, chosen in shown]
    return [(name, points, chosen) for name, points, chosen in lines if points and chosen.w2 > 0]


def _chosen(of_class: ClassQuantisation) -> RatePoint:
    return RatePoint(centroids=len(of_class.cell_images), w2=of_class.w2)


def _mean_chosen(quantisation: Quantisation) -> RatePoint:
    count = len(quantisation.classes)
    images = round(sum(len(of_class.cell_images) for of_class in quantisation.classes) / count)
    return RatePoint(centroids=images, w2=math.sqrt(sum(of_class.w2**2 for of_class in quantisation.classes) / count))


def _with_slope(name: str, points: Sequence[RatePoint]) -> str:
    slope = rate_slope(points)
    return name if slope is None else f"{name} {number(slope, 2)}"


def _named_at_the_right(axes: Axes, names: Sequence[str], last: Sequence[RatePoint]) -> None:
    """Names beside the ends of the lines, from the top down, each with its mark and pushed clear of the one above."""
    to_share = axes.transData + axes.transAxes.inverted()
    ends = [float(to_share.transform((point.centroids, point.w2))[1]) for point in last]
    height = 1.0 + APART
    for k in sorted(range(len(names)), key=lambda k: -ends[k]):
        height = min(ends[k], height - APART)
        marker, _ = CLASS_LINES[k]
        axes.plot(
            [1.05], [height], marker=marker, color=ACCENT, markersize=4.2, transform=axes.transAxes, clip_on=False
        )
        axes.text(1.09, height, cut(names[k]), transform=axes.transAxes, va="center", color=INK, fontsize=SIZE,
                  parse_math=False)  # fmt: skip


def _plain_numbers(axis: Axis, most: int) -> None:
    """Numbers written out, not as powers, at round ticks of a logarithmic scale, ``most`` at most."""
    low, high = axis.get_view_interval()
    for steps in (range(1, 10), (1, 2, 5), (1,)):
        round_ones = [step * 10.0**power for power in range(-6, 8) for step in steps]
        ticks = [tick for tick in round_ones if low <= tick <= high]
        if len(ticks) <= most:
            break
    if len(ticks) < 2:
        ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())
