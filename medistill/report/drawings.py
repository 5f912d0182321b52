"""Drawings: every figure of a report as inline SVG with its description, by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

from markupsafe import Markup
from matplotlib.figure import Figure

from medistill.evaluate.evaluation import CalibrationCurve, DecisionCurve, Evaluation, RocCurve
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.predictions import Arm
from medistill.evaluate.site_matrix import SOURCES, ExchangeSource
from medistill.privacy.audit import Audit
from medistill.privacy.score_attack import ATTACKED_AT, AUC, FOUND
from medistill.quantisation.record import Quantisation
from medistill.report import course_plots, curve_plots, descriptions, interval_plots, quantisation_plots
from medistill.report.audit_statements import figures_by_attack
from medistill.report.comparison import Comparison
from medistill.report.exchange import ExchangeStudy
from medistill.report.record import Course, Report
from medistill.report.schedules import schedules_description, schedules_figure
from medistill.report.svg import inline_svg
from medistill.report.wording import class_label, listed

MOST_CLASSES = 12
"""Classes that forest plots show and confusion matrices are written out for."""
ATTACK_PLOTS: tuple[tuple[Literal["found", "auc"], str, str, float], ...] = (
    ("found", "share found", "Share of the patients found where 1 in 100 others is wrong", 1 / ATTACKED_AT),
    ("auc", "AUC", "AUC of the attacks on membership", 0.5),
)
"""Figure of an attack, its name on the axis and in words, and what guessing has."""
Curve = TypeVar("Curve", RocCurve, CalibrationCurve, DecisionCurve)
Drawings = Mapping[str, Mapping[str, Markup]]


def drawings(report: Report) -> Drawings:
    """Section -> what -> drawing. Sections without a drawing are empty."""
    evaluation = report.evaluation
    return {
        "forest": _forests(evaluation),
        "roc": {
            name: _svg(curve_plots.roc(curves), f"roc-{k}", descriptions.roc(evaluation, curves))
            for k, (name, curves) in enumerate(_by_class(evaluation.roc).items())
        },
        "calibration": {
            name: _svg(
                curve_plots.calibration(curves), f"calibration-{k}", descriptions.calibration(evaluation, curves)
            )
            for k, (name, curves) in enumerate(_by_class(evaluation.calibration).items())
        },
        "decision": {
            name: _svg(curve_plots.decision(curves), f"decision-{k}", descriptions.decision(evaluation, curves))
            for k, (name, curves) in enumerate(_by_class(evaluation.decision).items())
        },
        "schedules": {
            "curve": _svg(
                schedules_figure(evaluation.schedules), "schedules", schedules_description(evaluation.schedules)
            )
        }
        if evaluation.schedules
        else {},
        "subgroups": _subgroups(evaluation),
        "networks": _networks(report),
        "sites": _sites(report),
        "quantisation": _quantisation(report.quantisation),
        "course": _course(report.course),
        "privacy": _privacy(report.audit),
    }


def comparison_drawing(comparison: Comparison) -> Markup | None:
    """Macro AUC of the arms of several runs; None where none is known."""
    if all(arm.macro_auc.value is None for run in comparison.runs for arm in run.arms):
        return None
    return _svg(interval_plots.runs(comparison), "runs", descriptions.runs(comparison))


def exchange_drawings(study: ExchangeStudy) -> dict[str, Markup]:
    """Macro AUC and accuracy of every source at every site and at all together; those that are known."""
    found: dict[str, Markup] = {}
    for what, label in (("macro_auc", "Macro AUC"), ("accuracy", "Accuracy")):
        entries: list[tuple[str, list[tuple[ExchangeSource, Estimate]]]] = [
            (site.name, [(source, getattr(study.row(source, site.name).cells[c], what)) for source in SOURCES])
            for c, site in enumerate(study.matrix.sites)
        ]
        pooled = [(row.source, getattr(row.pooled, what)) for row in study.matrix.rows if not row.site]
        told = [
            (name, cells)
            for name, cells in [*entries, ("All sites", pooled)]
            if any(estimate.value is not None for _, estimate in cells)
        ]
        if told:
            words = descriptions.sources(told, label)
            found[what] = _svg(interval_plots.sources(told, label), what.replace("_", "-"), words)
    return found


def pooled_and_held_out(report: Report) -> list[tuple[str, list[tuple[Arm, Estimate, Estimate]]]]:
    """Site -> (arm, macro AUC where the site had part in the making, where it was left out), sites in their order.

    Means over other classes do not compare: where they differ, the first stands as not available.
    """
    absent = Estimate.impossible("the main evaluation does not show this site by itself")
    found = []
    for held_out in report.sites:
        if held_out.evaluation is None:
            continue
        group = next(
            (group for group in report.evaluation.subgroups if group.trait == "site" and group.name == held_out.site),
            None,
        )
        pooled = {arm.arm: arm.macro_auc for arm in group.arms} if group is not None else {}
        told = Estimate.impossible(group.reason) if group is not None and group.reason else absent
        if group is not None and group.classes and set(group.classes) != set(held_out.evaluation.class_names):
            classes = listed([class_label(name) for name in group.classes])
            pooled = {}
            told = Estimate.impossible(f"there it is over other classes ({classes}), so it does not compare")
        arms = [(arm.arm, pooled.get(arm.arm, told), arm.macro_auc) for arm in held_out.evaluation.arms]
        found.append((held_out.site, arms))
    return found


def _forests(evaluation: Evaluation) -> dict[str, Markup]:
    found: dict[str, Markup] = {}
    for difference in evaluation.differences:
        if difference.macro_auc.value is None and all(entry.value is None for entry in difference.class_auc):
            continue
        shown = len(evaluation.class_names) <= MOST_CLASSES
        names = evaluation.class_names if shown else ()
        areas = difference.class_auc if shown else ()
        figure = interval_plots.forest(difference.macro_auc, names, areas, _margin(evaluation, difference.minus))
        said = descriptions.forest(difference, names, areas)
        found[difference.minus] = _svg(figure, f"forest-{difference.minus}", said)
    return found


def _margin(evaluation: Evaluation, minus: Arm) -> float | None:
    return evaluation.margin if minus == "raw" else None


def _subgroups(evaluation: Evaluation) -> dict[str, Markup]:
    raw = evaluation.difference("raw")
    if raw is None or all(group.difference.value is None for group in evaluation.subgroups):
        return {}
    figure = interval_plots.subgroup_forest(evaluation.subgroups, raw.macro_auc)
    return {"all": _svg(figure, "subgroups", descriptions.subgroups(evaluation))}


def _networks(report: Report) -> dict[str, Markup]:
    evaluations = (report.evaluation, *report.across)
    if not report.across or all(arm.macro_auc.value is None for entry in evaluations for arm in entry.arms):
        return {}
    return {"all": _svg(interval_plots.networks(evaluations), "networks", descriptions.networks(evaluations))}


def _sites(report: Report) -> dict[str, Markup]:
    pairs = [
        (site, [entry for entry in arms if entry[0] in ("distilled", "raw")])
        for site, arms in pooled_and_held_out(report)
    ]
    if all(value is None for _, arms in pairs for _, *both in arms for value in (entry.value for entry in both)):
        return {}
    return {"all": _svg(interval_plots.held_out(pairs), "sites", descriptions.held_out(pairs))}


def _quantisation(known: Quantisation | None) -> dict[str, Markup]:
    if known is None:
        return {}
    drawn = {"cells": _svg(quantisation_plots.cells(known), "cells", descriptions.cells(known))}
    if quantisation_plots.rate_lines(known):
        drawn["rate"] = _svg(quantisation_plots.rate(known), "rate", descriptions.rate(known))
    return drawn


def _course(course: Course | None) -> dict[str, Markup]:
    if course is None:
        return {}
    return {
        what: _svg(draw(course), what.replace("_", "-"), describe(course))
        for what, kept, draw, describe in (
            ("loss", course.loss, course_plots.loss, descriptions.loss),
            ("looks", course.auc, course_plots.looks, descriptions.looks),
            ("student_lr", course.student_lr, course_plots.student_lr, descriptions.student_lr),
            ("importance", course.importance, course_plots.importance, descriptions.importance),
        )
        if kept
    }


def _privacy(audit: Audit | None) -> dict[str, Markup]:
    """What the attacks on membership found: the share that the gate judges, and their AUC."""
    if audit is None or audit.membership is None:
        return {}
    drawn: dict[str, Markup] = {}
    for what, label, said, guessing in ATTACK_PLOTS:
        of_attacks = figures_by_attack(audit, what).items()
        entries = [entry for entry in of_attacks if any(value.value is not None for value in entry[1].values())]
        if entries:
            most = audit.thresholds.get((FOUND if what == "found" else AUC).setting)
            figure = interval_plots.attacks(entries, label, guessing=guessing, most=most)
            drawn[what] = _svg(figure, f"attacks-{what}", descriptions.attacks(entries, said))
    return drawn


def _by_class(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    found: dict[str, list[Curve]] = {}
    for curve in curves:
        found.setdefault(curve.class_name, []).append(curve)
    return found


def _svg(figure: Figure, name: str, description: str) -> Markup:
    return Markup(inline_svg(figure, name, description))  # noqa: S704
