"""Course plots: loss, looks, learning rate and importance over the outer steps of a distillation."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medistill.report.axes import SIZE, framed, named, room_for, rows, spread_out
from medistill.report.palette import ACCENT, FAINT, INK, MARGIN
from medistill.report.record import Course

WIDTH, HEIGHT = 3.4, 2.5
"""Of a figure, in inches, so that a phone shows it at full size."""


def loss(course: Course) -> Figure:
    """The loss of every outer step, lightly smoothed on top, with the chosen step."""
    figure, axes = framed(WIDTH, HEIGHT)
    steps = range(1, len(course.loss) + 1)
    axes.plot(steps, course.loss, color=FAINT, linewidth=0.8)
    smooth = _running_mean(course.loss, max(1, len(course.loss) // 25))
    axes.plot(steps, smooth, color=ACCENT, linewidth=1.8)
    spread_out(axes, course.loss)
    _chosen(axes, course)
    named(axes, "Outer step", "Loss of the outer steps")
    return figure


def looks(course: Course) -> Figure:
    """Macro AUC on the validation split at each look, and the one that was chosen."""
    figure, axes = framed(WIDTH, HEIGHT)
    axes.plot(course.looks, course.auc, color=ACCENT, linewidth=1.6, marker="o", markersize=3.5)
    _chosen(axes, course)
    if course.chosen_step in course.looks:
        best = course.auc[course.looks.index(course.chosen_step)]
        axes.plot([course.chosen_step], [best], "o", color=MARGIN, markersize=8)
    axes.set_xlim(left=0)
    named(axes, "Outer step", "Validation macro AUC")
    return figure


def student_lr(course: Course) -> Figure:
    """The student's learning rate after every outer step."""
    figure, axes = framed(WIDTH, HEIGHT, left=0.68)
    axes.plot(range(1, len(course.student_lr) + 1), course.student_lr, color=ACCENT, linewidth=1.8)
    _chosen(axes, course)
    spread_out(axes, course.student_lr)
    named(axes, "Outer step", "Student learning rate")
    return figure


def importance(course: Course) -> Figure:
    """W of each group of parameters over the looks, a row a group, about the 1 that all start from.

    All rows have one scale. The number on the right is W at the chosen look.
    """
    count = len(course.importance_names)
    left = room_for(course.importance_names)
    figure, axes = framed(max(WIDTH, left + 2.2), 0.62 + 0.27 * count, left=left, right=0.5)
    chosen = importance_row(course)
    reach = max(abs(value - 1) for at_look in course.importance for value in at_look) or 1.0
    steps = (0, *course.looks)
    for k in range(count):
        values = [1.0, *(at_look[k] for at_look in course.importance)]
        axes.axhline(k, color=FAINT, linewidth=0.6)
        axes.plot(steps, [k - 0.46 * (value - 1) / reach for value in values], color=ACCENT, linewidth=1.5)
        axes.text(1.03, k, f"{course.importance[chosen][k]:.2f}", transform=axes.get_yaxis_transform(), va="center",
                  color=INK, fontsize=SIZE)  # fmt: skip
    _chosen(axes, course)
    axes.set_xlim(0, max(course.looks))
    axes.set_ylim(count - 0.4, -0.6)
    rows(axes, range(count), course.importance_names)
    named(axes, "Outer step")
    return figure


def importance_row(course: Course) -> int:
    """The row of ``course.importance`` that belongs to the chosen look; the last where that look was not kept."""
    return course.looks.index(course.chosen_step) if course.chosen_step in course.looks else len(course.importance) - 1


def _chosen(axes: Axes, course: Course) -> None:
    if course.chosen_step > 0:
        axes.axvline(course.chosen_step, color=MARGIN, linewidth=1.4, linestyle=(0, (4, 3)))


def _running_mean(values: Sequence[float], width: int) -> list[float]:
    """Mean of each value and its neighbours within ``width``, fewer at the ends."""
    out = []
    for k in range(len(values)):
        near = values[max(0, k - width) : k + width + 1]
        out.append(sum(near) / len(near))
    return out
