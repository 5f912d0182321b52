"""Benchmark: our figure beside published ones, where the corpus is a benchmark of the field."""

from __future__ import annotations

from collections.abc import Iterator

from medistill.evaluate.published import BenchmarkResult
from medistill.report.blocks import Aside, Block, Bullets, Downloads, Heading, Prose
from medistill.report.caveat import Caveat
from medistill.report.evaluation_statements import this_run
from medistill.report.record import Report
from medistill.report.section import Section
from medistill.report.table import Cell, Column, Row, Table, table
from medistill.report.text import Below, Unavailable, Value
from medistill.report.view import ReportView
from medistill.report.wording import count, counted, number

BEST = "This run, best over all looks at the test split"


def section(view: ReportView) -> Section | None:
    """The benchmark; None where there is none."""
    ours = view.report.benchmark
    if ours is None:
        return None
    return Section(
        "benchmark",
        "Beside published figures",
        tuple(_blocks(view.report, ours)),
        contents="Benchmark",
        data=(
            table(
                "benchmark",
                (
                    Column("method"),
                    Column("labels"),
                    Column("accuracy", "number"),
                    Column("spread", "number"),
                    Column("source"),
                ),
                tuple(_rows(view.report, ours)),
                caption="Test accuracy in percent beside published figures.",
            ),
        ),
        brief=tuple(_brief(view.report, ours)),
    )


def _blocks(report: Report, ours: BenchmarkResult) -> Iterator[Block]:
    chosen = (
        "ours is of the set that was chosen on validation data"
        if report.facts.outer_steps
        else f"a {report.facts.family} gives one set, so that nothing was chosen here"
    )
    yield Prose(
        f"{ours.dataset}, {counted(ours.ipc, 'image')} for each class. Published figures are the best over all looks "
        f"at the test split as a rule; {chosen}."
    )
    if ours.cut_down:
        yield Aside("This run departs from the published setting", ours.cut_down)
    yield _table(report, ours)
    yield Downloads(("benchmark",))


def _table(report: Report, ours: BenchmarkResult) -> Table:
    accuracy: Cell = ours.chosen_accuracy
    if ours.chosen_spread is not None:
        accuracy = (Value("number", ours.chosen_accuracy, 1), Below(f"spread {number(ours.chosen_spread, 1)}"))
    rows: list[Row] = [(this_run(report), accuracy, "", "this report")]
    if report.facts.outer_steps:
        rows.append(
            (BEST, Unavailable(), "", "the looks were not kept (method.keep_looks)")
            if ours.maximum_accuracy is None
            else (BEST, ours.maximum_accuracy, "", f"this report, step {count(ours.maximum_step or 0)}")
        )
    rows += [
        (of.method, of.accuracy, of.labels, of.source) for of in sorted(ours.published, key=lambda of: of.accuracy)
    ]
    return table(
        "Our figure beside published ones",
        (Column("Method"), Column("Accuracy", "number", digits=1), Column("Labels"), Column("Source")),
        rows,
        caption="Test accuracy in percent, mean over networks.",
    )


def _rows(report: Report, ours: BenchmarkResult) -> Iterator[Row]:
    yield (this_run(report).lower(), "", ours.chosen_accuracy, ours.chosen_spread, "this report")
    if ours.maximum_accuracy is not None:
        yield ("this run, best over all looks", "", ours.maximum_accuracy, None, "this report")
    for of in ours.published:
        yield (of.method, of.labels, of.accuracy, None, of.source)


def _brief(report: Report, ours: BenchmarkResult) -> Iterator[Block]:
    yield Heading(f"Beside published figures: {ours.dataset}, {counted(ours.ipc, 'image')} a class")
    rows: list[Row] = [(this_run(report), ours.chosen_accuracy)]
    if ours.maximum_accuracy is not None:
        rows.append((BEST, ours.maximum_accuracy))
    rows += [(f"{of.method} ({of.source})", of.accuracy) for of in ours.published]
    yield table("", (Column("Method"), Column("Test accuracy in percent", "number", digits=1)), rows)
    if ours.cut_down:
        yield Prose("This run departs from the published setting:")
        yield Bullets(ours.cut_down)


def departs(report: Report) -> Iterator[Caveat]:
    """Whether figures compare with published ones."""
    if report.benchmark is not None and report.benchmark.cut_down:
        yield Caveat(
            "Not the published setting",
            "This run departs from the published setting of the benchmark, so its figures do not compare with "
            "published ones. The report lists in what.",
        )
