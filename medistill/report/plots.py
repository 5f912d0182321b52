"""Plots: the report's figures, drawn by matplotlib without its global state."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from medistill.evaluate.evaluation import Difference
from medistill.evaluate.intervals import Estimate
from medistill.report.palette import ACCENT, ARM_DASHES, ARM_INKS, FAINT, INK, MARGIN, MUTED
from medistill.report.record import Course, Curve
from medistill.report.wording import class_label

SMALL = (3.4, 2.7)
"""Width and height in inches of a figure that a phone shows at full size; 72 units an inch."""
DECADES = 30.0
"""Ratio of largest to least value from which a scale is logarithmic."""
SIZE = 9.0
"""Height of the letters, in points."""


def roc(curves: Sequence[Curve]) -> Figure:
    """ROC curves of the arms for one class, on a square."""
    figure, axes = _figure(2.6, 2.6)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    for curve in sorted(curves, key=lambda entry: entry.arm == "distilled"):
        axes.plot(
            (0.0, *curve.false_positive_rate),
            (0.0, *curve.sensitivity),
            color=ARM_INKS[curve.arm],
            linestyle=ARM_DASHES[curve.arm],
            linewidth=2.0 if curve.arm == "distilled" else 1.6,
            solid_capstyle="round",
        )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set_xticklabels(["0", "0.5", "1"])
    axes.set_yticklabels(["0", "0.5", "1"])
    axes.set_aspect("equal")
    _label(axes, "False alarms (1 − specificity)", "Sensitivity")
    return figure


def forest(difference: Difference, class_names: Sequence[str], margin: float) -> Figure:
    """Paired differences of AUC with their intervals: macro first, then each class; the margin where it applies."""
    rows: list[tuple[str, Estimate]] = [("Macro", difference.macro_auc)]
    rows += [(class_label(name), estimate) for name, estimate in zip(class_names, difference.class_auc, strict=True)]
    figure, axes = _figure(3.6, 0.75 + 0.3 * len(rows))
    axes.axvline(0, color=MUTED, linewidth=1)
    if difference.minus == "raw":
        axes.axvline(-margin, color=MARGIN, linewidth=1.4, linestyle=(0, (4, 3)))
    reach = [margin if difference.minus == "raw" else 0.02]
    for k, (_, estimate) in enumerate(rows):
        if estimate.value is None:
            continue
        strong = k == 0
        if estimate.low is not None and estimate.high is not None:
            ends = [estimate.low, estimate.high]
            axes.plot(ends, [k, k], color=ACCENT, linewidth=2.6 if strong else 1.5, solid_capstyle="butt")
            reach += [abs(end) for end in ends]
        axes.plot([estimate.value], [k], "D" if strong else "o", color=ACCENT, markersize=7 if strong else 5)
        reach.append(abs(estimate.value))
    span = 1.12 * max(reach)
    axes.set(xlim=(-span, span), ylim=(len(rows) - 0.4, -0.6))
    axes.set_yticks(range(len(rows)), labels=[_cut(name) for name, _ in rows], parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True, steps=[1, 2, 2.5, 5, 10]))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    _label(axes, "worse  ←  difference in AUC  →  better", "")
    return figure


def loss(course: Course) -> Figure:
    """The matching loss of every outer step, lightly smoothed on top, with the chosen step."""
    figure, axes = _figure(*SMALL)
    steps = range(1, len(course.loss) + 1)
    axes.plot(steps, course.loss, color=FAINT, linewidth=0.8)
    smooth = _running_mean(course.loss, max(1, len(course.loss) // 25))
    axes.plot(steps, smooth, color=ACCENT, linewidth=1.8)
    _spread_out(axes, course.loss)
    _chosen(axes, course)
    _label(axes, "Outer step", "Matching loss")
    return figure


def looks(course: Course) -> Figure:
    """Macro AUC on the validation split at each look, and the one that was chosen."""
    figure, axes = _figure(*SMALL)
    axes.plot(course.looks, course.auc, color=ACCENT, linewidth=1.6, marker="o", markersize=3.5)
    _chosen(axes, course)
    if course.chosen_step in course.looks:
        best = course.auc[course.looks.index(course.chosen_step)]
        axes.plot([course.chosen_step], [best], "o", color=MARGIN, markersize=8)
    axes.set_xlim(left=0)
    _label(axes, "Outer step", "Validation macro AUC")
    return figure


def student_lr(course: Course) -> Figure:
    """The student's learning rate after every outer step."""
    figure, axes = _figure(*SMALL)
    axes.plot(range(1, len(course.student_lr) + 1), course.student_lr, color=ACCENT, linewidth=1.8)
    _chosen(axes, course)
    _spread_out(axes, course.student_lr)
    _label(axes, "Outer step", "Student learning rate")
    return figure


def importance(course: Course) -> Figure:
    """W of each group of parameters at the chosen look, against the 1 that all start from."""
    row = course.looks.index(course.chosen_step) if course.chosen_step in course.looks else len(course.importance) - 1
    values = course.importance[row]
    figure, axes = _figure(SMALL[0], max(SMALL[1], 0.7 + 0.17 * len(values)))
    axes.axvline(1, color=MUTED, linewidth=1)
    for k, value in enumerate(values):
        axes.plot([1, value], [k, k], color=ACCENT, linewidth=1.6, solid_capstyle="butt")
        axes.plot([value], [k], "o", color=ACCENT, markersize=4)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_yticks(range(len(values)), labels=[_cut(name) for name in course.importance_names], parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _label(axes, "Importance W (1 at the start)", "")
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """One set of axes without a frame."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes: Axes = figure.subplots()
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


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, color=INK, fontsize=SIZE)
    axes.set_ylabel(y, color=INK, fontsize=SIZE)


def _chosen(axes: Axes, course: Course) -> None:
    if course.chosen_step > 0:
        axes.axvline(course.chosen_step, color=MARGIN, linewidth=1.4, linestyle=(0, (4, 3)))


def _spread_out(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic scale where the values span decades."""
    if min(values) > 0 and max(values) > DECADES * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.ticklabel_format(axis="y", useOffset=False)


def _running_mean(values: Sequence[float], width: int) -> list[float]:
    """Mean of each value and its neighbours within ``width``, fewer at the ends."""
    out = []
    for k in range(len(values)):
        near = values[max(0, k - width) : k + width + 1]
        out.append(sum(near) / len(near))
    return out


def _cut(name: str, longest: int = 24) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
