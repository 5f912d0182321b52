"""The report as one HTML file that fetches nothing and runs nothing, for screens, phones and paper."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from medistill.evaluate.evaluation import Evaluation, Rule
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.predictions import TRAITS
from medistill.evaluate.rare import REMEDY, without_interval
from medistill.evaluate.site_matrix import OF_ONE_SITE
from medistill.privacy.attack_registry import space_name
from medistill.report import audit_statements, quantisation_statements, wording
from medistill.report.comparison import Comparison
from medistill.report.cost import savings, size
from medistill.report.data_statements import burnt_in_text
from medistill.report.drawings import (
    MOST_CLASSES,
    comparison_drawing,
    drawings,
    exchange_drawings,
    pooled_and_held_out,
)
from medistill.report.evaluation_statements import this_run
from medistill.report.exchange import (
    SOURCE_LOOKS,
    SOURCE_MEANING,
    SOURCE_NAMES,
    ExchangeStudy,
    headline,
    statements,
)
from medistill.report.glossary import GLOSSARY
from medistill.report.interval_plots import TRAIT_NAMES
from medistill.report.notes import Notes
from medistill.report.pictures import ClassPictures
from medistill.report.record import Report
from medistill.report.schedules import schedule_sentences
from medistill.report.table import csv_text
from medistill.report.tables import tables
from medistill.report.text_statements import first_screen_text, text_sentences
from medistill.visible import visible

FILTERS = (
    size,
    audit_statements.asked_text,
    space_name,
    audit_statements.found_text,
    audit_statements.reason_text,
    quantisation_statements.images_of,
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
DASHES = {"raw": "9 4", "random": "2.5 3", "kmeans": "9 3 2 3", "hard": "5 2.5"}
"""Arm -> dashes of its key, as its lines are dashed in figures."""
POINTS = {
    "distilled": "M6 0l6 6-6 6-6-6z",
    "raw": "M1 1h10v10H1z",
    "random": "M6 .5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 1 1 0-11z",
    "kmeans": "M6 0l6 11H0z",
    "hard": "M6 12L0 1h12z",
}
"""Arm -> its point as a path, as `palette.ARM_MARKERS` draws it in figures."""
FIRST = ("distilled", "raw", "random")
"""Arms on the first screen, where they were trained."""
LARGEST_DOWNLOAD = 250_000
"""Bytes of a table from which it is left to ``report.json``, so that the page stays small."""


@dataclass(frozen=True)
class Bar:
    """Where an interval lies on a scale from ``start`` to 1, in percent of its width."""

    start: str
    left: float
    width: float
    point: float


@dataclass(frozen=True)
class NamedRule:
    """A way to choose thresholds, and how the page calls it."""

    name: Rule
    words: str


def render_html(report: Report, distilled: Sequence[ClassPictures] = (), real: Sequence[ClassPictures] = ()) -> str:
    """Render the report with pictures of the distilled set and, only where they may be shown, of real images."""
    evaluation = report.evaluation
    order = [name for name in wording.ARM_NAMES if evaluation.arm(name) is not None]
    known = report.corpus or report.distilled
    unit = (known.split_unit if known is not None else "") or "patient"
    return render(
        "report.html.j2",
        report=report,
        evaluation=evaluation,
        networks=(evaluation, *report.across),
        arms={arm.arm: arm for arm in evaluation.arms},
        order=order,
        first=[name for name in FIRST if name in order],
        unit=unit,
        groups=wording.counted_as(unit),
        few_classes=len(evaluation.class_names) <= MOST_CLASSES,
        scarce=bool(without_interval(evaluation)),
        rules=_rules(evaluation),
        figures=drawings(report),
        bars=_bars({arm.arm: arm.macro_auc for arm in evaluation.arms}),
        traits={
            trait: members
            for trait in TRAITS
            if (members := [group for group in evaluation.subgroups if group.trait == trait])
        },
        trait_names=TRAIT_NAMES,
        pooled={site: {arm: pooled for arm, pooled, _ in arms} for site, arms in pooled_and_held_out(report)},
        savings=savings(evaluation),
        schedule_sentences=schedule_sentences(evaluation.schedules),
        quantising=report.distilled is not None and report.distilled.quantising,
        quantised=_quantised(report),
        this_run=this_run(report),
        checklists={
            name: [row for row in report.checklist if row.checklist == name]
            for name in dict.fromkeys(row.checklist for row in report.checklist)
        },
        downloads=_downloads(report),
        methods_text=_data_address("text/plain", "\n\n".join(report.methods) + "\n"),
        burnt_in_text=burnt_in_text(report) if report.benchmark is None else "",
        pictures=distilled,
        real=real,
        glossary=GLOSSARY,
        audit_heading=audit_statements.heading(report.audit) if report.audit is not None else "",
        audit_standing=audit_statements.standing(report.audit) if report.audit is not None else "",
        audit_outcome=audit_statements.outcome(report.audit) if report.audit is not None else "",
        audit_consequence=audit_statements.consequence(report.audit) if report.audit is not None else "",
        text_in_pixels=first_screen_text(report),
        audit_text=text_sentences(report.audit.text) if report.audit is not None else (),
        audit_adversary=audit_statements.ADVERSARY,
        audit_subjects=audit_statements.SUBJECT_NAMES,
        audit_sources=audit_statements.SOURCE_NAMES,
        audit_remarks=audit_statements.attack_remarks(report.audit) if report.audit is not None else (),
        audit_attacks=audit_statements.attack_rows(report.audit) if report.audit is not None else (),
    )


def render_comparison(comparison: Comparison) -> str:
    """Render runs side by side."""
    return render(
        "comparison.html.j2",
        comparison=comparison,
        order=[name for name in wording.ARM_NAMES if any(run.arm(name) is not None for run in comparison.runs)],
        figure=comparison_drawing(comparison),
        downloads={},
        scarce=False,
    )


def render_exchange(study: ExchangeStudy) -> str:
    """Render the study in which sites exchange sets."""
    return render(
        "exchange.html.j2",
        study=study,
        headline=headline(study),
        statements=statements(study),
        figures=exchange_drawings(study),
        sources={source: study.rows(source) for source in SOURCE_NAMES},
        of_one_site=OF_ONE_SITE,
        source_names=SOURCE_NAMES,
        source_meaning=SOURCE_MEANING,
        looks=SOURCE_LOOKS,
        groups=wording.counted_as(study.split_unit),
        downloads={},
        scarce=False,
    )


def render(name: str, **values: object) -> str:
    """A template of this room with the report's filters; blank lines are taken out, hidden characters spelt out."""
    environment = Environment(
        loader=PackageLoader("medistill.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    for filter_ in FILTERS:
        environment.filters[filter_.__name__] = filter_
    page = environment.get_template(name).render(
        arm_names=wording.ARM_NAMES, dashes=DASHES, points=POINTS, notes=Notes(), remedy=REMEDY, **values
    )
    return visible(re.sub(r"\n\s*\n+", "\n", page), keep="\n\t")


def _rules(evaluation: Evaluation) -> tuple[NamedRule, ...]:
    """The rules of the operating points, which are the same in every arm and class."""
    words = {"youden": "Largest sensitivity + specificity on the validation split (Youden)"}
    points = [point for arm in evaluation.arms[:1] for result in arm.classes[:1] for point in result.points]
    return tuple(
        NamedRule(
            point.rule,
            words.get(point.rule) or f"Specificity of {wording.percent(point.target or 0, 0)} on the validation split",
        )
        for point in points
    )


def _quantised(report: Report) -> dict[str, str]:
    """What -> sentence on the quantisation; empty without a record of it."""
    known = report.quantisation
    if known is None:
        return {}
    return {
        "given_up": quantisation_statements.given_up(known),
        "bound": quantisation_statements.bound(known),
        "rate": quantisation_statements.rate_words(known),
        "labels": quantisation_statements.labels(report),
        "weighting": quantisation_statements.weighting(report),
    }


def _bars(estimates: Mapping[str, Estimate]) -> dict[str, Bar]:
    """Each estimate on a common scale from 0.5, or from 0 where something lies below, to 1."""
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


def _downloads(report: Report) -> dict[str, str]:
    """Table -> its CSV as a ``data:`` address; empty where it is too long.

    It begins with a byte order mark, without which Excel takes UTF-8 for something else.
    """
    texts: Iterable[tuple[str, str]] = ((name, f"\ufeff{csv_text(table)}") for name, table in tables(report).items())
    return {name: _data_address("text/csv", text) if len(text) <= LARGEST_DOWNLOAD else "" for name, text in texts}


def _data_address(kind: str, text: str) -> str:
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"
