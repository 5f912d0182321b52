"""Interval plots: estimates as points on lines, row by row: differences, subgroups, networks, sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medistill.evaluate.evaluation import Evaluation, Subgroup
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.predictions import Arm
from medistill.evaluate.site_matrix import ExchangeSource
from medistill.privacy.membership import SOURCES, Source
from medistill.report.axes import cut, framed, named, room_for, rows
from medistill.report.comparison import Comparison
from medistill.report.exchange import SOURCE_LOOKS
from medistill.report.palette import ACCENT, ARM_INKS, ARM_MARKERS, FAINT, MARGIN, MUTED, PAPER
from medistill.report.wording import ARM_NAMES, class_label

WIDTH = 3.8
"""Of a figure, in inches."""
TRAIT_NAMES = {"site": "Site", "view": "View", "sex": "Sex", "age": "Age"}


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
class Row:
    """A row of a plot; one without marks is a heading.

    Attributes:
        name: on its left.
        marks: from top to bottom.
    """

    name: str
    marks: tuple[Mark, ...] = ()


def forest(macro: Estimate, class_names: Sequence[str], areas: Sequence[Estimate], margin: float | None) -> Figure:
    """Paired differences of AUC with their intervals: macro first, then each class; the margin where it applies."""
    shown = [Row("Macro", (Mark(macro, shape="D", strong=True),))]
    shown += [Row(class_label(name), (Mark(area),)) for name, area in zip(class_names, areas, strict=True)]
    return _differences(shown, margin)


def subgroup_forest(subgroups: Sequence[Subgroup], whole: Estimate) -> Figure:
    """Distilled minus raw in macro AUC for all test images and in each subgroup, under the name of its trait."""
    shown = [Row("All test images", (Mark(whole, shape="D", strong=True),))]
    trait = ""
    for subgroup in subgroups:
        if subgroup.trait != trait:
            trait = subgroup.trait
            shown.append(Row(TRAIT_NAMES[subgroup.trait]))
        label = f"{cut(class_label(subgroup.name), 18)} *" if subgroup.reason else class_label(subgroup.name)
        shown.append(Row(label, (Mark(subgroup.difference),)))
    return _differences(shown, None)


def networks(evaluations: Sequence[Evaluation]) -> Figure:
    """Macro AUC of every arm on each network."""
    return _areas([(entry.network, {arm.arm: arm.macro_auc for arm in entry.arms}) for entry in evaluations])


def runs(comparison: Comparison) -> Figure:
    """Macro AUC of every arm of each run."""
    return _areas([(run.name, {arm.arm: arm.macro_auc for arm in run.arms}) for run in comparison.runs])


def held_out(pairs: Sequence[tuple[str, Sequence[tuple[Arm, Estimate, Estimate]]]]) -> Figure:
    """Macro AUC at each site: a full point where the site had part in the making, an outline where it was left out.

    Args:
        pairs: site -> (arm, pooled, held out) of each arm.
    """
    shown = [
        Row(
            class_label(site),
            tuple(
                Mark(estimate, ARM_INKS[arm], ARM_MARKERS[arm], filled=filled)
                for arm, pooled, held in of_site
                for estimate, filled in ((pooled, True), (held, False))
            ),
        )
        for site, of_site in pairs
    ]
    return _plot(shown, "Macro AUC at the site")


def attacks(
    entries: Sequence[tuple[str, Mapping[Source, Estimate]]], label: str, *, guessing: float, most: float | None
) -> Figure:
    """A figure of each attack on membership, on the networks of each source below each other.

    Args:
        label: what the figure is.
        guessing: what an attack that knows nothing has.
        most: what the gate allows, where it asks for that.
    """
    shown = [
        Row(
            name,
            tuple(
                Mark(values[source], ARM_INKS[source], ARM_MARKERS[source], strong=source == "distilled")
                for source in SOURCES
                if source in values
            ),
        )
        for name, values in entries
    ]
    reach = max([end for row in shown for mark in row.marks for end in _ends(mark.estimate)] + [most or guessing])
    return _plot(shown, label, limits=(0, min(1.05 * reach, 1.02)), solid=guessing, dashed=most)


def sources(sites: Sequence[tuple[str, Sequence[tuple[ExchangeSource, Estimate]]]], label: str) -> Figure:
    """A row for each site with a point for each source that networks learnt from."""
    shown = []
    for site, of_site in sites:
        looks = [(source, *SOURCE_LOOKS[source], estimate) for source, estimate in of_site]
        marks = tuple(
            Mark(estimate, ARM_INKS[arm], ARM_MARKERS[arm], filled=full, strong=source == "all_sets")
            for source, arm, full, estimate in looks
        )
        shown.append(Row(class_label(site), marks))
    return _plot(shown, label)


def _areas(entries: Sequence[tuple[str, Mapping[Arm, Estimate]]]) -> Figure:
    """A row for each entry with its arms below each other."""
    shown = [
        Row(
            name,
            tuple(
                Mark(areas[arm], ARM_INKS[arm], ARM_MARKERS[arm], strong=arm == "distilled")
                for arm in ARM_NAMES
                if arm in areas
            ),
        )
        for name, areas in entries
    ]
    return _plot(shown, "Macro AUC")


def _differences(shown: Sequence[Row], margin: float | None) -> Figure:
    """A plot around 0, as far to the left as to the right."""
    ends = [end for row in shown for mark in row.marks for end in _ends(mark.estimate)]
    reach = 1.12 * max([abs(end) for end in ends] + [margin or 0.02])
    dashed = None if margin is None else -margin
    return _plot(shown, "worse  ←  difference in AUC  →  better", limits=(-reach, reach), solid=0, dashed=dashed)


def _plot(
    shown: Sequence[Row],
    label: str,
    *,
    limits: tuple[float, float] | None = None,
    solid: float | None = None,
    dashed: float | None = None,
) -> Figure:
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


def _draw(axes: Axes, place: float, mark: Mark) -> None:
    estimate = mark.estimate
    if estimate.value is None:
        return
    if estimate.low is not None and estimate.high is not None:
        width = 2.6 if mark.strong else 1.5
        axes.plot([estimate.low, estimate.high], [place, place], color=mark.ink, linewidth=width, solid_capstyle="butt")
    axes.plot(
        [estimate.value],
        [place],
        mark.shape,
        color=mark.ink,
        markersize=6 if mark.strong else 4.6,
        markerfacecolor=mark.ink if mark.filled else PAPER,
        markeredgewidth=1.3,
    )


def _ends(estimate: Estimate) -> list[float]:
    return [end for end in (estimate.value, estimate.low, estimate.high) if end is not None]
