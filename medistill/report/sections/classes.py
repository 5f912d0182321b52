"""Classes: each class against the rest, and what networks do at a threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medistill.evaluate.evaluation import ArmResult, Evaluation, OperatingPoint, Rule
from medistill.evaluate.rare import REMEDY, without_interval
from medistill.report.blocks import Block, Downloads, Fold, Heading, Prose, folded
from medistill.report.caveat import Caveat
from medistill.report.estimates import interval
from medistill.report.named_figures import figures_of
from medistill.report.record import Report
from medistill.report.section import Section
from medistill.report.table import FIGURE, Column, Group, Row, Span, Table, table
from medistill.report.text import Code, Missing, Small, Text
from medistill.report.view import ReportView
from medistill.report.wording import NAMED, class_label, counted, listed, percent

FEW_PATIENTS = 20
"""Test patients of a class below which the intervals are told to be too narrow (see decision 17)."""


def section(view: ReportView) -> Section:
    """Each class against the rest."""
    return Section(
        "classes",
        "Each class against the rest",
        tuple(_blocks(view)),
        contents="Classes",
        data=(
            table(
                "classes",
                (
                    Column("class"),
                    Column("images", "count"),
                    Column("patients", "count"),
                    Column("prevalence", "number"),
                    Column("arm"),
                    *FIGURE,
                ),
                tuple(_class_rows(view.evaluation)),
                caption="Each class against the rest.",
            ),
            table(
                "operating_points",
                (
                    Column("class"),
                    Column("prevalence", "number"),
                    Column("arm"),
                    Column("rule"),
                    Column("target specificity", "number"),
                    *FIGURE,
                ),
                tuple(_point_rows(view.evaluation)),
                caption="Each class against the rest at thresholds chosen on the validation split.",
            ),
        ),
    )


def _blocks(view: ReportView) -> Iterator[Block]:
    yield Prose(
        "How well the class’s probability tells it from the others, and how far that probability can be taken at its "
        "word."
    )
    yield folded("All classes", _table(view), long=not view.few_classes)
    yield Downloads(("classes",))
    yield Heading("At a threshold", "points")
    if not view.evaluation.validation_images:
        yield Prose(_no_threshold(view.report))
        return
    yield Prose(
        "Sensitivity is the share of a class’s images that are found, specificity the share of the others that are "
        "left alone. Both depend on a threshold, chosen on the validation split "
        f"({counted(view.evaluation.validation_images, 'image')}) for each network by itself: mean, and range over the "
        "networks. PPV and NPV hold at the prevalence of the test split only.",
        small=True,
    )
    for c, name in enumerate(view.evaluation.class_names):
        yield Fold(_point_title(view, c), (_points(view, c, name),))
    yield Downloads(("operating_points",))


def _table(view: ReportView) -> Table:
    evaluation = view.evaluation
    return Table(
        "AUC and calibration of each class",
        (
            Column("Trained on", "arm"),
            Column("AUC", "estimate"),
            Column("DeLong’s interval", "limits"),
            Column("Put into it", "share"),
            Column("Brier score", "estimate"),
            Column("Calibration error", "bare"),
        ),
        tuple(
            Group(
                tuple(_row(arm, c, evaluation) for arm in view.arms.values()) if evaluation.class_images[c] else (),
                (
                    f"{class_label(name)} ",
                    Small(
                        f"{counted(evaluation.class_images[c], 'test image')}"
                        f"{view.of_units(evaluation.class_patients[c])}"
                    ),
                ),
            )
            for c, name in enumerate(evaluation.class_names)
        ),
        caption=f"Below each figure its {view.level} from draws of the test {view.groups}; DeLong’s interval for "
        "clustered data beside it. “Put into it” is the share of the class’s images whose most probable class it is: a "
        "sensitivity that needs no threshold.",
    )


def _row(arm: ArmResult, c: int, evaluation: Evaluation) -> Row:
    result = arm.classes[c]
    rest = (result.recall, result.brier, result.calibration_error)
    if result.auc.value is None:
        return (arm.arm, Span(2, Missing("" if evaluation.absent else result.auc.reason)), *rest)
    return (arm.arm, result.auc, result.auc_delong, *rest)


def _no_threshold(report: Report) -> Text:
    alone = ", and the classifier comes with none" if report.of_classifier else ""
    return (
        f"No threshold was chosen, since every image was tested{alone}. ",
        Code("medistill evaluate --split test"),
        " sets a validation split of this corpus aside and chooses there.",
    )


def _point_title(view: ReportView, c: int) -> Text:
    """The class, and how the distilled arm does by the first rule."""
    name = class_label(view.evaluation.class_names[c])
    points = view.arms["distilled"].classes[c].points if "distilled" in view.arms else ()
    for point in points[:1]:
        if point.sensitivity.value is not None and point.specificity.value is not None:
            figures = [
                f"{what} {percent(of.value)}" + (f" ({interval(of, 'share')})" if of.low is not None else "")
                for what, of in (("sensitivity", point.sensitivity), ("specificity", point.specificity))
                if of.value is not None
            ]
            return (f"{name} ", Small(f"distilled images: {', '.join(figures)}"))
    return name


def _points(view: ReportView, c: int, name: str) -> Table:
    return Table(
        f"Operating points of class {class_label(name)}",
        (
            Column("Trained on", "arm"),
            Column("Threshold", "thresholds"),
            *(Column(of, "share") for of in ("Sensitivity", "Specificity", "PPV", "NPV")),
            Column("F1", "estimate"),
            Column("Balanced accuracy", "share"),
        ),
        tuple(
            Group(
                tuple(
                    _point_row(arm, point)
                    for arm in view.arms.values()
                    for point in arm.classes[c].points
                    if point.rule == rule
                ),
                words,
            )
            for rule, words in _rules(view.evaluation)
        ),
        caption=f"{class_label(name)}: prevalence {percent(view.evaluation.prevalence(name))} in the test split.",
        style="wide",
    )


def _point_row(arm: ArmResult, point: OperatingPoint) -> Row:
    return (
        arm.arm,
        point.thresholds or Missing(),
        point.sensitivity,
        point.specificity,
        point.ppv,
        point.npv,
        point.f1,
        point.balanced_accuracy,
    )


def _rules(evaluation: Evaluation) -> tuple[tuple[Rule, str], ...]:
    """The rules of the operating points, which are the same in every arm and class, and what the page calls them."""
    words = {"youden": "Largest sensitivity + specificity on the validation split (Youden)"}
    points = [point for arm in evaluation.arms[:1] for result in arm.classes[:1] for point in result.points]
    return tuple(
        (
            point.rule,
            words.get(point.rule) or f"Specificity of {percent(point.target or 0, 0)} on the validation split",
        )
        for point in points
    )


def _class_rows(evaluation: Evaluation) -> Iterator[Row]:
    for c, name in enumerate(evaluation.class_names):
        about = (name, evaluation.class_images[c], evaluation.class_patients[c], evaluation.prevalence(name))
        for arm in evaluation.arms:
            result = arm.classes[c]
            for figure, estimate in (
                ("AUC", result.auc),
                ("AUC (DeLong)", result.auc_delong),
                ("put into it", result.recall),
                ("brier", result.brier),
                ("calibration error", result.calibration_error),
            ):
                yield (*about, arm.arm, figure, estimate)


def _point_rows(evaluation: Evaluation) -> Iterator[Row]:
    for c, name in enumerate(evaluation.class_names):
        for arm in evaluation.arms:
            for point in arm.classes[c].points:
                first = (name, evaluation.prevalence(name), arm.arm, point.rule, point.target)
                for k, threshold in enumerate(point.thresholds, start=1):
                    yield (*first, f"threshold of network {k}", threshold)
                for figure, estimate in figures_of(
                    point, "sensitivity", "specificity", "ppv", "npv", "f1", "balanced_accuracy"
                ):
                    yield (*first, figure, estimate)


def few_patients(report: Report) -> Iterator[Caveat]:
    """Classes of so few test patients that their intervals are too narrow, or are none."""
    evaluation = report.evaluation
    few = [
        (class_label(name), patients)
        for name, patients in zip(evaluation.class_names, evaluation.class_patients, strict=True)
        if 0 < patients < FEW_PATIENTS
    ]
    if few:
        yield Caveat(
            "Few test patients",
            f"The test split has {_few_listed(few, report.split_unit or 'image')}."
            f"{_no_intervals(evaluation)} With fewer than {FEW_PATIENTS} an interval is too narrow: in a "
            "simulation, 95 % intervals held the true value in 79 % of test sets with 4 patients of a class and in "
            f"93 % with 20. What to do: {REMEDY}.",
        )


def _few_listed(few: Sequence[tuple[str, int]], unit: str) -> str:
    """The rarest classes with their patients; the others are counted."""
    rarest = sorted(few, key=lambda entry: entry[1])
    named = [f"{counted(patients, unit)} of {name}" for name, patients in rarest[:NAMED]]
    more = len(few) - NAMED
    return listed([*named, *([f"few of {counted(more, 'more class', 'more classes')}"] if more > 0 else [])])


def _no_intervals(evaluation: Evaluation) -> str:
    """Which classes have no interval for that."""
    rare = [class_label(name) for name in without_interval(evaluation)]
    of = listed(rare) if len(rare) <= NAMED else counted(len(rare), "class", "classes")
    return f" That is too few for any interval of the figures of {of}." if rare else ""
