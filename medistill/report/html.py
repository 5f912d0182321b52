"""The report as one HTML file that fetches nothing, for screens, phones and paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medistill.evaluate.intervals import Estimate
from medistill.report import plots, wording
from medistill.report.glossary import GLOSSARY
from medistill.report.pictures import ClassPictures
from medistill.report.record import Report
from medistill.report.svg import inline_svg

FILTERS = (
    wording.class_label,
    wording.count,
    wording.counted,
    wording.difference,
    wording.interval,
    wording.level,
    wording.listed,
    wording.number,
    wording.percent,
    wording.seconds,
    wording.thresholds,
)


@dataclass(frozen=True)
class Bar:
    """Where an interval lies on a scale from ``start`` to 1, in percent of its width."""

    start: str
    left: float
    width: float
    point: float


def render_html(report: Report, distilled: Sequence[ClassPictures] = (), real: Sequence[ClassPictures] = ()) -> str:
    """Render the report with pictures of the distilled set and, only where they may be shown, of real images."""
    environment = Environment(
        loader=PackageLoader("medistill.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    for filter_ in FILTERS:
        environment.filters[filter_.__name__] = filter_
    page = environment.get_template("template.html.j2").render(
        report=report,
        evaluation=report.evaluation,
        arms={arm.arm: arm for arm in report.evaluation.arms},
        arm_names=wording.ARM_NAMES,
        order=[name for name in wording.ARM_NAMES if report.evaluation.arm(name) is not None],
        figures=_figures(report),
        bars=_bars(report),
        pictures=distilled,
        real=real,
        glossary=GLOSSARY,
    )
    return re.sub(r"\n\s*\n+", "\n", page)


def _figures(report: Report) -> dict[str, dict[str, Markup]]:
    """Section -> what -> drawing. Sections without a drawing are empty."""
    evaluation, course = report.evaluation, report.course
    drawn: dict[str, dict[str, Markup]] = {"roc": {}, "forest": {}, "course": {}}
    for k, name in enumerate(evaluation.class_names):
        curves = [curve for curve in report.curves if curve.class_name == name]
        if curves:
            arms = wording.listed([wording.ARM_NAMES[curve.arm].lower() for curve in curves])
            description = f"ROC curves for class {wording.class_label(name)}: {arms}. The areas are in the table above."
            drawn["roc"][name] = Markup(inline_svg(plots.roc(curves), f"roc-{k}", description))  # noqa: S704
    for difference in evaluation.differences:
        if difference.macro_auc.value is None and all(entry.value is None for entry in difference.class_auc):
            continue
        figure = plots.forest(difference, evaluation.class_names, evaluation.margin)
        description = (
            f"Differences in AUC, distilled images minus {wording.ARM_NAMES[difference.minus].lower()}, "
            "with intervals; the table gives them as numbers."
        )
        drawn["forest"][difference.minus] = Markup(inline_svg(figure, f"forest-{difference.minus}", description))  # noqa: S704
    if course is not None:
        for what, draw, description in (
            ("loss", plots.loss, "Matching loss over the outer steps"),
            ("looks", plots.looks, "Macro AUC on the validation split at each look"),
            ("student_lr", plots.student_lr, "Learning rate of the student over the outer steps"),
            ("importance", plots.importance, "Importance W of each group of parameters at the chosen step"),
        ):
            if getattr(course, {"looks": "auc"}.get(what, what)):
                svg = inline_svg(
                    draw(course), what.replace("_", "-"), f"{description}; chosen step {course.chosen_step}."
                )
                drawn["course"][what] = Markup(svg)  # noqa: S704
    return drawn


def _bars(report: Report) -> dict[str, Bar]:
    """Each arm's macro AUC on a common scale from 0.5, or from 0 where something lies below, to 1."""
    estimates: dict[str, Estimate] = {arm.arm: arm.macro_auc for arm in report.evaluation.arms}
    whole = {
        arm: (estimate.value, estimate.low, estimate.high)
        for arm, estimate in estimates.items()
        if estimate.value is not None and estimate.low is not None and estimate.high is not None
    }
    start = 0.5 if all(low >= 0.5 for _, low, _ in whole.values()) else 0.0
    scale = 100 / (1 - start)
    return {
        arm: Bar(
            "0.5" if start else "0",
            round((low - start) * scale, 2),
            round((high - low) * scale, 2),
            round((value - start) * scale, 2),
        )
        for arm, (value, low, high) in whole.items()
    }
