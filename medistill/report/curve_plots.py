"""Curve plots: ROC, calibration and decision curves of the arms, one class a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medistill.evaluate.curve import CalibrationCurve, DecisionCurve, RocCurve
from medistill.recipe.arms import ArmName
from medistill.report.arm_style import ARM_STYLES, BANDED
from medistill.report.axes import framed, named
from medistill.report.palette import FAINT, MUTED

Curve = TypeVar("Curve", RocCurve, CalibrationCurve, DecisionCurve)
SIDE = 2.6
"""Width and height of a figure in inches, so that a phone shows it at full size."""


def roc(curves: Sequence[RocCurve]) -> Figure:
    """ROC curves, on a square."""
    figure, axes = _square()
    for curve in _in_order(curves):
        rates = (0.0, *curve.false_positive_rate)
        if curve.arm in BANDED and curve.low:
            _band(axes, rates, (0.0, *curve.low), (curve.high[0], *curve.high), curve.arm)
        _line(axes, rates, (0.0, *curve.sensitivity), curve.arm)
    named(axes, "False alarms (1 − specificity)", "Sensitivity")
    return figure


def calibration(curves: Sequence[CalibrationCurve]) -> Figure:
    """How often the class is there against how probable it was called."""
    figure, axes = _square()
    for curve in _in_order(curves):
        if curve.arm in BANDED and curve.low:
            for x, low, high in zip(curve.predicted, curve.low, curve.high, strict=True):
                axes.plot([x, x], [low, high], color=ARM_STYLES[curve.arm].mark, linewidth=1.1, alpha=0.55)
        _line(axes, curve.predicted, curve.observed, curve.arm, points=True)
    named(axes, "Predicted probability", "Share that is of the class")
    return figure


def decision(curves: Sequence[DecisionCurve]) -> Figure:
    """Net benefit over the probability from which one acts, beside acting on all and on none."""
    figure, axes = framed(SIDE, 2.3, left=0.62)
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.plot(curves[0].threshold, curves[0].treat_all, color=MUTED, linewidth=1)
    for curve in _in_order(curves):
        if curve.arm in BANDED and curve.low:
            _band(axes, curve.threshold, curve.low, curve.high, curve.arm)
        _line(axes, curve.threshold, curve.net_benefit, curve.arm)
    top = max(max(curve.high if curve.arm in BANDED and curve.high else curve.net_benefit) for curve in curves)
    top = max(top, curves[0].treat_all[0], 0.02)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.3 * top, 1.12 * top), xticks=[0, 0.5, 1])
    axes.set_xticklabels(["0", "0.5", "1"])
    named(axes, "Probability from which one acts", "Net benefit")
    return figure


def _square() -> tuple[Figure, Axes]:
    """Axes from 0 to 1 both ways, with the diagonal."""
    figure, axes = framed(SIDE, SIDE)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set_xticklabels(["0", "0.5", "1"])
    axes.set_yticklabels(["0", "0.5", "1"])
    return figure, axes


def _in_order(curves: Sequence[Curve]) -> list[Curve]:
    """The distilled arm last, on top of the others."""
    return sorted(curves, key=lambda entry: entry.arm == "distilled")


def _band(axes: Axes, x: Sequence[float], low: Sequence[float], high: Sequence[float], arm: ArmName) -> None:
    axes.fill_between(x, low, high, color=ARM_STYLES[arm].mark, alpha=0.16, linewidth=0)


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], arm: ArmName, *, points: bool = False) -> None:
    style = ARM_STYLES[arm]
    axes.plot(
        x,
        y,
        color=style.mark,
        linestyle=style.line,
        linewidth=2.0 if arm == "distilled" else 1.5,
        marker=style.marker if points else "",
        markersize=3.6,
        solid_capstyle="round",
    )
