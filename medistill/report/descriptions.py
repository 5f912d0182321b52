"""Descriptions: what a figure shows, in words and numbers, for those who cannot see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from medistill.evaluate.evaluation import CalibrationCurve, DecisionCurve, Difference, Evaluation, RocCurve
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.predictions import Arm
from medistill.evaluate.site_matrix import ExchangeSource
from medistill.privacy.membership import Source
from medistill.quantisation.record import Quantisation
from medistill.report.comparison import Comparison
from medistill.report.course_plots import importance_row
from medistill.report.exchange import SOURCE_NAMES
from medistill.report.quantisation_plots import rate_lines
from medistill.report.quantisation_statements import rate_slope
from medistill.report.record import Course
from medistill.report.wording import (
    ARM_NAMES,
    class_label,
    count,
    counted,
    difference,
    interval,
    listed,
    number,
    plural_of,
)


def told(estimate: Estimate, *, sign: bool = False) -> str:
    """A number with its limits: "0.907 (0.880 to 0.930)"."""
    if estimate.value is None:
        return "not available"
    value = difference(estimate.value) if sign else number(estimate.value)
    limits = interval(estimate, sign=sign)
    return f"{value} ({limits})" if limits else value


def _areas(evaluation: Evaluation, name: str, arms: Iterable[Arm]) -> str:
    """The areas under the ROC curves of a class."""
    c = evaluation.class_names.index(name)
    return _by_arm({arm: told(result.classes[c].auc) for arm in arms if (result := evaluation.arm(arm)) is not None})


def roc(evaluation: Evaluation, curves: Sequence[RocCurve]) -> str:
    """Of a figure of ROC curves."""
    name = curves[0].class_name
    return f"ROC curves for {class_label(name)}. AUC: {_areas(evaluation, name, (curve.arm for curve in curves))}."


def calibration(evaluation: Evaluation, curves: Sequence[CalibrationCurve]) -> str:
    """Of a figure of calibration curves."""
    name = curves[0].class_name
    c = evaluation.class_names.index(name)
    errors = {
        curve.arm: told(result.classes[c].calibration_error)
        for curve in curves
        if (result := evaluation.arm(curve.arm)) is not None
    }
    return f"Calibration curves for {class_label(name)}. Expected calibration error: {_by_arm(errors)}."


def decision(evaluation: Evaluation, curves: Sequence[DecisionCurve]) -> str:
    """Of a figure of decision curves: the net benefit at the threshold nearest to the class's prevalence."""
    name, places = curves[0].class_name, curves[0].threshold
    prevalence = evaluation.prevalence(name)
    k = min(range(len(places)), key=lambda entry: abs(places[entry] - prevalence))
    benefits = _by_arm({curve.arm: number(curve.net_benefit[k]) for curve in curves})
    return (
        f"Decision curves for {class_label(name)}. Net benefit of acting from a probability of {places[k]:.2f}: "
        f"{benefits}; acting on every image {number(curves[0].treat_all[k])}, on none 0."
    )


def forest(of: Difference, class_names: Sequence[str], areas: Sequence[Estimate]) -> str:
    """Of a forest plot of paired differences of macro AUC and of the AUC of classes."""
    classes = [f"{class_label(name)} {told(area, sign=True)}" for name, area in zip(class_names, areas, strict=True)]
    figures = "; ".join([f"macro {told(of.macro_auc, sign=True)}", *classes])
    return f"Differences in AUC, distilled images minus {ARM_NAMES[of.minus].lower()}: {figures}."


def subgroups(evaluation: Evaluation) -> str:
    """Of the forest plot of subgroups."""
    groups = "; ".join(
        f"{group.trait} {class_label(group.name)} {'not shown' if group.reason else told(group.difference, sign=True)}"
        for group in evaluation.subgroups
    )
    return f"Difference in macro AUC, distilled images minus all originals, by subgroup: {groups}."


def networks(evaluations: Sequence[Evaluation]) -> str:
    """Of the plot of networks."""
    each = "; ".join(
        f"{entry.network}: {_by_arm({arm.arm: told(arm.macro_auc) for arm in entry.arms})}" for entry in evaluations
    )
    return f"Macro AUC on each network. {each}."


def runs(comparison: Comparison) -> str:
    """Of the plot of several runs."""
    each = "; ".join(
        f"{run.name}: {_by_arm({arm.arm: told(arm.macro_auc) for arm in run.arms})}" for run in comparison.runs
    )
    return f"Macro AUC of each run. {each}."


def held_out(pairs: Sequence[tuple[str, Sequence[tuple[Arm, Estimate, Estimate]]]]) -> str:
    """Of the plot of sites."""
    each = "; ".join(
        f"{class_label(site)}: "
        + listed(
            [
                f"{ARM_NAMES[arm].lower()} {told(pooled)} with the site, {told(held)} without it"
                for arm, pooled, held in of_site
            ]
        )
        for site, of_site in pairs
    )
    return f"Macro AUC at each site. {each}."


def attacks(entries: Sequence[tuple[str, Mapping[Source, Estimate]]], label: str) -> str:
    """Of the plot of the attacks on membership."""
    each = "; ".join(
        f"{name}: {_by_arm({of: told(value) for of, value in values.items()})}" for name, values in entries
    )
    return f"{label}, by what the attacked networks learnt from. {each}."


def sources(sites: Sequence[tuple[str, Sequence[tuple[ExchangeSource, Estimate]]]], label: str) -> str:
    """Of the plot of what networks learnt from, at each site."""
    each = "; ".join(
        f"{class_label(site)}: "
        + listed([f"{SOURCE_NAMES[source].lower()} {told(estimate)}" for source, estimate in of_site])
        for site, of_site in sites
    )
    return f"{label} of networks that learnt from each source. {each}."


def loss(course: Course) -> str:
    """Of the plot of the matching loss."""
    return (
        f"Matching loss over {count(len(course.loss))} outer steps: {course.loss[0]:.4g} at the start, "
        f"{min(course.loss):.4g} at its least, {course.loss[-1]:.4g} at the end; {_chosen(course)}."
    )


def looks(course: Course) -> str:
    """Of the plot of the looks at the validation split."""
    points = listed([f"{number(value)} at step {count(step)}" for step, value in _few(course.looks, course.auc)])
    return f"Macro AUC on the validation split: {points}; {_chosen(course)}."


def student_lr(course: Course) -> str:
    """Of the plot of the student's learning rate."""
    first, last = course.student_lr[0], course.student_lr[-1]
    return f"Learning rate of the student: {first:.4g} after the first outer step, {last:.4g} after the last."


def importance(course: Course) -> str:
    """Of the plot of the importance of groups of parameters."""
    at_choice = course.importance[importance_row(course)]
    groups = "; ".join(f"{name} {value:.2f}" for name, value in zip(course.importance_names, at_choice, strict=True))
    return f"Importance W of each group of parameters, 1 at the start, at the chosen look: {groups}."


def cells(known: Quantisation) -> str:
    """Of the histogram of patients in a cell."""
    held = sorted(patients for of_class in known.classes for patients in of_class.cell_patients)
    unit = known.patient_unit
    return (
        f"Histogram of the {plural_of(unit)} in the cells of {counted(len(held), 'distilled image')}: "
        f"{count(held[0])} in the smallest, {count(held[len(held) // 2])} in the middle one, {count(held[-1])} in the "
        f"largest. Asked for were at least {counted(known.min_cluster_size, unit)}."
    )


def rate(known: Quantisation) -> str:
    """Of the plot of W2 over the number of centroids."""
    each = []
    for name, points, chosen in rate_lines(known):
        slope = rate_slope(points)
        steepness = "" if slope is None else f", slope {number(slope, 2)}"
        ends = listed([f"{number(point.w2, 2)} with {count(point.centroids)}" for point in (points[0], points[-1])])
        each.append(f"{name} {ends}{steepness}; this set {number(chosen.w2, 2)} with {count(chosen.centroids)}")
    return f"W2 by number of centroids, both scales logarithmic. {'. '.join(each)}."


def _by_arm(texts: Mapping[Arm, str]) -> str:
    return listed([f"{ARM_NAMES[arm].lower()} {texts[arm]}" for arm in ARM_NAMES if arm in texts])


def _chosen(course: Course) -> str:
    return f"chosen step {count(course.chosen_step)}"


def _few(looks: Sequence[int], values: Sequence[float]) -> list[tuple[int, float]]:
    """First, best and last look, each once."""
    best = max(range(len(values)), key=values.__getitem__)
    return [(looks[k], values[k]) for k in sorted({0, best, len(values) - 1})]
