"""Differences: the distilled arm minus each other one, paired on the same test patients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from matplotlib.figure import Figure as Drawn

from medistill.evaluate.evaluation import Difference, Evaluation
from medistill.evaluate.intervals import Estimate
from medistill.report.arm_style import arm_in_sentence
from medistill.report.blocks import Beside, Block, Downloads, Drawing, Facts, Figure, Heading, Prose, folded
from medistill.report.estimates import interval, with_interval
from medistill.report.interval_plots import Mark, PlotRow, plot_differences
from medistill.report.named_figures import figures_of
from medistill.report.section import Section
from medistill.report.table import FIGURE, Cell, Column, Row, Table, table
from medistill.report.text import Absent, Below, Note, Text, Value
from medistill.report.view import ReportView
from medistill.report.wording import class_label, difference, level, number, percent


def section(view: ReportView) -> Section:
    """The paired differences."""
    return Section(
        "differences",
        "Paired differences",
        tuple(_blocks(view)),
        contents="Differences",
        data=(
            table(
                "differences",
                (Column("distilled minus"), Column("class"), *FIGURE),
                tuple(_rows(view.evaluation)),
                caption="The distilled arm against the others, paired on the same test patients.",
            ),
        ),
        brief=tuple(_brief(view.evaluation)),
    )


def _blocks(view: ReportView) -> Iterator[Block]:
    evaluation = view.evaluation
    if view.report.verdict.judgement == "not compared":
        yield Prose(view.report.verdict.against_random)
        return
    yield Prose(_lede(view))
    if not evaluation.differences:
        yield Prose(Absent("a difference needs the distilled arm and another one"))
    if figures := _figures(view):
        yield Beside(figures)
    if evaluation.differences:
        yield folded("The differences as numbers, class by class", _table(view), long=not view.few_classes)
        yield Downloads(("differences",))
    yield Facts(tuple(_facts(view)))


def _lede(view: ReportView) -> str:
    said = f"Distilled minus the other arm, on the same test {view.groups} in every draw."
    if view.evaluation.difference("raw") is None:
        return said
    margin = view.evaluation.margin
    return (
        f"{said} The margin is {margin}: “non-inferior” needs the whole interval of the macro AUC to the right of the "
        f"dashed line at {number(-margin, 3)}."
    )


def _figures(view: ReportView) -> tuple[Figure, ...]:
    return tuple(
        Figure(f"Distilled minus {arm_in_sentence(of.minus)}", (_drawing(view, of),), f"AUC, with {view.level}s")
        for of in view.evaluation.differences
        if any(entry.value is not None for entry in (of.macro_auc, *of.class_auc))
    )


def _drawing(view: ReportView, of: Difference) -> Drawing:
    names = view.evaluation.class_names if view.few_classes else ()
    areas = of.class_auc if view.few_classes else ()
    margin = view.evaluation.margin if of.minus == "raw" else None
    draw = partial(forest, of.macro_auc, names, areas, margin)
    return Drawing(f"forest-{of.minus}", draw, describe_forest(of, names, areas))


def forest(macro: Estimate, class_names: Sequence[str], areas: Sequence[Estimate], margin: float | None) -> Drawn:
    """Paired differences of AUC with their intervals: macro first, then each class; the margin where it applies."""
    rows = [PlotRow("Macro", (Mark(macro, shape="D", strong=True),))]
    rows += [PlotRow(class_label(name), (Mark(area),)) for name, area in zip(class_names, areas, strict=True)]
    return plot_differences(rows, margin)


def describe_forest(of: Difference, class_names: Sequence[str], areas: Sequence[Estimate]) -> str:
    """Of a forest plot of paired differences of macro AUC and of the AUC of classes."""
    parts = [f"macro {with_interval(of.macro_auc, 'difference', without='')}"]
    parts += [
        f"{class_label(name)} {with_interval(area, 'difference', without='')}"
        for name, area in zip(class_names, areas, strict=True)
    ]
    return f"Differences in AUC, distilled images minus {arm_in_sentence(of.minus)}: {'; '.join(parts)}."


def _table(view: ReportView) -> Table:
    evaluation = view.evaluation
    of = evaluation.differences
    rows: list[Row] = [
        ("Macro AUC", *(Value("difference", entry.macro_auc) for entry in of)),
        ("Accuracy, points", *(Value("points", entry.accuracy) for entry in of)),
    ]
    rows += [
        (f"AUC, {class_label(name)}", *(_class_cell(entry, c) for entry in of))
        for c, name in enumerate(evaluation.class_names)
    ]
    return table(
        "Table of the paired differences",
        (Column("Distilled minus"), *(Column(Value("arm", entry.minus)) for entry in of)),
        rows,
        caption=f"Below each difference its interval from the draws of the {view.groups}; below a class’s AUC also "
        "DeLong’s interval.",
    )


def _class_cell(of: Difference, c: int) -> Cell:
    delong = interval(of.class_auc_delong[c], "difference")
    area = Value("difference", of.class_auc[c])
    return (area, Below(f"DeLong {delong}")) if delong else area


def _facts(view: ReportView) -> Iterator[tuple[str, Text]]:
    evaluation = view.evaluation
    yield "Gap closed", _gap(view)
    with_hard = " with hard labels" if "hard" in view.arms else ""
    for term, entry, meaning in (
        (
            "Hard-label recovery",
            evaluation.hard_label_recovery,
            f"points of accuracy that all originals are ahead of the distilled images{with_hard}; the smaller, the "
            "better (DD-Ranking)",
        ),
        (
            "Improvement over random",
            evaluation.improvement_over_random,
            "points of accuracy that the distilled images are ahead of random originals (DD-Ranking)",
        ),
    ):
        if entry.value is None:
            yield term, Absent(entry.reason)
        elif entry.low is None:
            yield term, (f"{difference(100 * entry.value, 1)} (no interval", Note(entry.reason), f"): {meaning}.")
        else:
            yield term, f"{difference(100 * entry.value, 1)} ({view.level} {interval(entry, 'points')}): {meaning}."


def _gap(view: ReportView) -> Text:
    gap = view.evaluation.gap_closed
    if gap.value is None:
        return Absent(gap.reason)
    said = f"The distilled images come {percent(gap.value, 0)} of the way from random to all originals in macro AUC"
    if gap.low is None or gap.high is None:
        return (f"{said} (no interval", Note(gap.reason), ").")
    return f"{said} ({view.level} {number(100 * gap.low, 0)} to {percent(gap.high, 0)})."


def _rows(evaluation: Evaluation) -> Iterator[Row]:
    for of in evaluation.differences:
        yield (of.minus, "", "accuracy", of.accuracy)
        yield (of.minus, "", "macro AUC", of.macro_auc)
        for name, bootstrap, delong in zip(evaluation.class_names, of.class_auc, of.class_auc_delong, strict=True):
            yield (of.minus, name, "AUC", bootstrap)
            yield (of.minus, name, "AUC (DeLong)", delong)
    for figure, estimate in figures_of(evaluation, "gap_closed", "hard_label_recovery", "improvement_over_random"):
        yield ("", "", figure, estimate)


def _brief(evaluation: Evaluation) -> Iterator[Block]:
    if not evaluation.differences:
        return
    confidence = level(evaluation.confidence)
    yield Heading("Distilled images minus other arms, paired")
    yield table(
        "",
        (
            Column("Minus", "arm"),
            Column(f"Macro AUC ({confidence})", "difference"),
            Column(f"Accuracy ({confidence})", "difference"),
        ),
        tuple((entry.minus, entry.macro_auc, entry.accuracy) for entry in evaluation.differences),
    )
    yield Prose(
        (
            "Gap closed ",
            Value("estimate", evaluation.gap_closed),
            ". Hard-label recovery ",
            Value("difference", evaluation.hard_label_recovery),
            ". Improvement over random ",
            Value("difference", evaluation.improvement_over_random),
            ".",
        )
    )
