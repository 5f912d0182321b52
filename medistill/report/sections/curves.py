"""Curves: ROC, calibration and decision curves of the arms, a drawing for each class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.figure import Figure as Drawn

from medistill.evaluate.curve import CalibrationCurve, DecisionCurve, RocCurve
from medistill.evaluate.evaluation import Evaluation
from medistill.recipe.arms import ArmName
from medistill.report import curve_plots
from medistill.report.arm_style import listed_by_arm
from medistill.report.blocks import Beside, Block, Downloads, Drawing, Figure, Heading, Prose, arm_legend
from medistill.report.estimates import with_interval
from medistill.report.section import Section
from medistill.report.table import Column, Table, long_rows, table
from medistill.report.text import Absent
from medistill.report.view import ReportView
from medistill.report.wording import class_label, listed, number, percent

Curve = RocCurve | CalibrationCurve | DecisionCurve
SHORT_NAMES: Mapping[ArmName, str] = {"distilled": "distilled", "raw": "all originals", "random": "random"}
"""Arm -> what the small words above a drawing call it."""


@dataclass(frozen=True)
class CurveKind:
    """A kind of curve.

    Attributes:
        name: as the evaluation calls it, and its table.
        title: its heading.
        text: how to read it.
        draw: draws the curves of a class.
        describe: says in words what is drawn.
        beside: small words above the drawing of a class; empty for none.
        columns: of its table, the fields of a curve with what the table calls them.
        caption: of its table.
    """

    name: str
    title: str
    text: str
    draw: Callable[[Any], Drawn]
    describe: Callable[[Evaluation, Any], str]
    beside: Callable[[ReportView, str], str]
    columns: Mapping[str, str]
    caption: str


def section(view: ReportView) -> Section:
    """The curves of every class that has some."""
    return Section(
        "curves",
        "Curves",
        tuple(_blocks(view)),
        contents="Curves",
        data=tuple(_data(kind, getattr(view.evaluation, kind.name)) for kind in KINDS),
    )


def _blocks(view: ReportView) -> Iterator[Block]:
    evaluation = view.evaluation
    if evaluation.roc or evaluation.calibration or evaluation.decision:
        yield Prose(_lede(view))
        yield arm_legend(tuple(view.arms))
    if "curves" in view.report.missing:
        yield Prose(Absent(view.report.missing["curves"]))
    elif not evaluation.roc:
        yield Prose(Absent("no class can be told from the rest, or there are more classes than curves are kept for"))
    for kind in KINDS:
        yield from _of_kind(view, kind)


def _lede(view: ReportView) -> str:
    said = (
        "One class against the rest in each drawing, the mean over an arm’s networks. The shaded bands of the "
        f"distilled images and of all originals are pointwise {view.level}s"
    )
    if len(view.arms) > 2:
        said += (
            f"; the other arms go without, since {len(view.arms)} bands would hide each other. The download has them "
            "all"
        )
    return f"{said}.{f' A class of few test {view.groups} has none.' if view.scarce else ''}"


def _of_kind(view: ReportView, kind: CurveKind) -> Iterator[Block]:
    evaluation = view.evaluation
    curves = by_class(getattr(evaluation, kind.name))
    if not curves:
        return
    yield Heading(kind.title, kind.name)
    yield Prose(kind.text, small=True)
    yield Beside(
        tuple(
            Figure(
                class_label(name),
                (Drawing(f"{kind.name}-{k}", partial(kind.draw, of_class), kind.describe(evaluation, of_class)),),
                kind.beside(view, name),
            )
            for k, (name, of_class) in enumerate(curves.items())
        ),
        "grid",
    )
    if lacking := [class_label(name) for name in evaluation.class_names if name not in curves]:
        yield Prose(f"No curve for {listed(lacking)}: the table above gives the reason.", small=True)
    yield Downloads((kind.name,))


def by_class(curves: Iterable[Curve]) -> dict[str, list[Curve]]:
    """Class -> its curves, one an arm."""
    found: dict[str, list[Curve]] = {}
    for curve in curves:
        found.setdefault(curve.class_name, []).append(curve)
    return found


def describe_roc(evaluation: Evaluation, curves: Sequence[RocCurve]) -> str:
    """Of a figure of ROC curves."""
    name = curves[0].class_name
    c = evaluation.class_names.index(name)
    areas = {
        curve.arm: with_interval(result.classes[c].auc, without="")
        for curve in curves
        if (result := evaluation.arm(curve.arm)) is not None
    }
    return f"ROC curves for {class_label(name)}. AUC: {listed_by_arm(areas)}."


def describe_calibration(evaluation: Evaluation, curves: Sequence[CalibrationCurve]) -> str:
    """Of a figure of calibration curves."""
    name = curves[0].class_name
    c = evaluation.class_names.index(name)
    errors = {
        curve.arm: with_interval(result.classes[c].calibration_error, without="")
        for curve in curves
        if (result := evaluation.arm(curve.arm)) is not None
    }
    return f"Calibration curves for {class_label(name)}. Expected calibration error: {listed_by_arm(errors)}."


def describe_decision(evaluation: Evaluation, curves: Sequence[DecisionCurve]) -> str:
    """Of a figure of decision curves: the net benefit at the threshold nearest to the class's prevalence."""
    name, places = curves[0].class_name, curves[0].threshold
    prevalence = evaluation.prevalence(name)
    k = min(range(len(places)), key=lambda entry: abs(places[entry] - prevalence))
    benefits = listed_by_arm({curve.arm: number(curve.net_benefit[k]) for curve in curves})
    return (
        f"Decision curves for {class_label(name)}. Net benefit of acting from a probability of {places[k]:.2f}: "
        f"{benefits}; acting on every image {number(curves[0].treat_all[k])}, on none 0."
    )


def _areas(view: ReportView, name: str) -> str:
    c = view.evaluation.class_names.index(name)
    shown = [
        f"{number(area)} {SHORT_NAMES[arm]}"
        for arm in view.first[:2]
        if (area := view.arms[arm].classes[c].auc.value) is not None
    ]
    return f"AUC {', '.join(shown)}"


def _prevalence(view: ReportView, name: str) -> str:
    return f"prevalence {percent(view.evaluation.prevalence(name))}"


def _data(kind: CurveKind, curves: Sequence[Curve]) -> Table:
    return table(
        kind.name,
        (Column("arm"), Column("class"), *(Column(heading, "number") for heading in kind.columns.values())),
        tuple(
            (curve.arm, curve.class_name, *cells)
            for curve in curves
            for cells in long_rows(*(getattr(curve, field) for field in kind.columns))
        ),
        caption=kind.caption,
    )


KINDS = (
    CurveKind(
        "roc",
        "ROC curves",
        "Sensitivity against false alarms over all thresholds. The further towards the upper left, the better; the "
        "diagonal is guessing.",
        curve_plots.roc,
        describe_roc,
        _areas,
        {"false_positive_rate": "false positive rate", "sensitivity": "sensitivity", "low": "low", "high": "high"},
        "ROC curves, mean over the networks at each false positive rate.",
    ),
    CurveKind(
        "calibration",
        "Calibration",
        "How often the class is there, where networks call it about that probable. On the diagonal, probabilities can "
        "be taken at their word; below it they promise too much. Each point stands for about as many test images as "
        "the next; vertical lines are intervals.",
        curve_plots.calibration,
        describe_calibration,
        lambda _view, _name: "",
        {"predicted": "predicted", "observed": "observed", "low": "low", "high": "high", "images": "images"},
        "Calibration curves.",
    ),
    CurveKind(
        "decision",
        "Decision curves",
        "Net benefit of acting on the probability: cases found, less false alarms weighed by how probable a case must "
        "be before one acts. A model is worth using where its curve is above both thin lines: acting on every image "
        "(sloping) and on none (0).",
        curve_plots.decision,
        describe_decision,
        _prevalence,
        {
            "threshold": "threshold",
            "net_benefit": "net benefit",
            "low": "low",
            "high": "high",
            "treat_all": "net benefit of treating all",
        },
        "Decision curves.",
    ),
)
"""Every kind of curve, in the order of the page."""
