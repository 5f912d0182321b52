"""Comparison page: runs side by side, as HTML and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from medistill.recipe.arms import ArmName
from medistill.report.arm_style import ARM_STYLES, arm_in_sentence
from medistill.report.blocks import Beside, Block, Drawing, Figure, Heading, Prose, arm_legend
from medistill.report.comparison import ComparedRun, Comparison
from medistill.report.interval_plots import plot_arms
from medistill.report.kinds import Kind
from medistill.report.page import Callout, Masthead, Page
from medistill.report.render.html import html_page
from medistill.report.render.markdown import markdown_page
from medistill.report.section import Section
from medistill.report.sections.networks import described
from medistill.report.table import Cell, Column, Group, Row, Table, table
from medistill.report.text import Absent, Code, Missing, Text, Value
from medistill.report.wording import count, counted, level, listed

NOT_TRAINED = Missing("not trained")


def render_comparison(comparison: Comparison) -> str:
    """Render runs side by side."""
    return html_page(comparison_page(comparison))


def comparison_markdown(comparison: Comparison) -> str:
    """Runs side by side, in brief."""
    return markdown_page(comparison_page(comparison))


def comparison_page(comparison: Comparison) -> Page:
    """The runs: figures, differences, settings."""
    runs, same = comparison.runs, comparison.same_test
    title = f"{counted(len(runs), 'run')} side by side"
    word = "Tested on the same images" if same else "Not tested on the same images"
    return Page(
        title=f"{title} · medistill",
        header=Masthead(
            "medistill comparison",
            title,
            f"{listed([run.name for run in runs])}.",
            Callout("comparable" if same else "not-shown", word, comparison.comparable),
        ),
        sections=(_figures(comparison), _between(comparison), _settings(comparison)),
        footer="Written by medistill",
        record="comparison.json",
        brief_title=title,
        brief=(
            Prose(comparison.comparable),
            Prose(f"Macro AUC with its {level(comparison.confidence)}."),
            _brief_table(comparison),
        ),
    )


def _arms(comparison: Comparison) -> tuple[ArmName, ...]:
    return tuple(name for name in ARM_STYLES if any(run.arm(name) is not None for run in comparison.runs))


def _figures(comparison: Comparison) -> Section:
    return Section("figures", "Figures", (*_drawing(comparison), _table(comparison)))


def _drawing(comparison: Comparison) -> Iterator[Block]:
    """Macro AUC of the arms of every run, where one is known."""
    entries = [(run.name, {arm.arm: arm.macro_auc for arm in run.arms}) for run in comparison.runs]
    if any(area.value is not None for _, areas in entries for area in areas.values()):
        said = f"Macro AUC of each run. {described(entries)}."
        drawing = Drawing("runs", partial(plot_arms, entries), said)
        legend = arm_legend(_arms(comparison), points=True)
        yield Beside((Figure("Macro AUC of each run", (legend, drawing), "With the interval of each run"),))


def _table(comparison: Comparison) -> Table:
    runs, arms = comparison.runs, _arms(comparison)
    areas = [_of_arms(runs, arm, Value("arm", arm), "estimate", "macro_auc") for arm in arms]
    areas.append(_of_runs(runs, "Distilled minus all originals", "difference", "difference"))
    accuracies = [_of_arms(runs, arm, Value("arm", arm), "share", "accuracy") for arm in arms]
    accuracies.append(_of_runs(runs, "Hard-label recovery, points", "points", "hard_label_recovery"))
    accuracies.append(_of_runs(runs, "Improvement over random, points", "points", "improvement_over_random"))
    costs: list[Row] = [
        ("Time of experts and distillation (none for experts found in the cache)", *map(_making, runs)),
        _of_runs(runs, "Gap closed", "share", "gap_closed"),
    ]
    for arm in arms:
        name = arm_in_sentence(arm)
        costs.append(_of_arms(runs, arm, f"Images, {name}", "count", "images", otherwise=None))
        costs.append(_of_arms(runs, arm, f"Time of a network, {name}", "seconds", "seconds_a_network", otherwise=None))
    return Table(
        "Figures of each run",
        (Column(""), *(Column(run.name) for run in runs)),
        (Group(tuple(areas), "Macro AUC"), Group(tuple(accuracies), "Accuracy"), Group(tuple(costs), "Gap and cost")),
    )


def _of_runs(runs: Sequence[ComparedRun], heading: Text, kind: Kind, field: str) -> Row:
    """A figure of every run."""
    return (heading, *(Value(kind, getattr(run, field)) for run in runs))


def _of_arms(
    runs: Sequence[ComparedRun], arm: ArmName, heading: Text, kind: Kind, field: str, *, otherwise: Cell = NOT_TRAINED
) -> Row:
    """A figure of an arm of every run, and what stands where the arm was not trained."""
    figures = [run.arm(arm) for run in runs]
    return (heading, *(otherwise if of is None else Value(kind, getattr(of, field)) for of in figures))


def _making(run: ComparedRun) -> Text:
    return "not known" if run.making_seconds is None else Value("seconds", run.making_seconds)


def _between(comparison: Comparison) -> Section:
    anchor, title = "between", "Differences between the distilled sets"
    if not comparison.differences:
        return Section(anchor, title, (Prose(Absent("there is one run only")),))
    confidence = level(comparison.confidence)
    rows = tuple((of.name, of.minus, of.macro_auc, of.accuracy) for of in comparison.differences)
    short = tuple((of.name, of.macro_auc, of.accuracy) for of in comparison.differences)
    lede = (
        "Networks trained on the run’s distilled images minus those trained on the first run’s, on the same test "
        f"patients in each of {count(comparison.replicates)} draws, with {confidence}s."
    )
    columns = (Column("Run"), Column("Minus"), Column("Macro AUC", "difference"), Column("Accuracy, points", "points"))
    in_brief = (
        Column("Run"),
        Column(f"Difference in macro AUC ({confidence})", "difference"),
        Column(f"Difference in accuracy ({confidence})", "difference"),
    )
    return Section(
        anchor,
        title,
        (Prose(lede), table("Table of the differences", columns, rows)),
        brief=(
            Heading(f"Distilled arms against that of {comparison.runs[0].name}"),
            table("", in_brief, short),
        ),
    )


def _settings(comparison: Comparison) -> Section:
    runs = comparison.runs
    named = ("Method", "method"), ("Images per class", "ipc"), ("Network", "network"), ("Test images", "test_images")
    rows: list[Row] = [
        (term, *(_known(getattr(run, field)) for run in runs))
        for term, field in (*named, ("Test patients", "test_patients"))
    ]
    rows.append(("Corpus, SHA-256", *(Code(run.corpus[:12] or "–") for run in runs)))
    rows += [(Code(of.name), *(value or "–" for value in of.values)) for of in comparison.settings]
    settings: list[Row] = [(Code(of.name), *(value or "–" for value in of.values)) for of in comparison.settings]
    columns = tuple(Column(run.name) for run in runs)
    brief = (Heading("Settings that differ"), table("", (Column("Setting"), *columns), settings))
    return Section(
        "settings",
        "What differs",
        (table("What differs between the runs", (Column(""), *columns), rows),),
        brief=brief if settings else (),
    )


def _known(value: str | int | None) -> str:
    return "–" if value in (None, "") else str(value)


def _brief_table(comparison: Comparison) -> Table:
    runs = comparison.runs
    rows: list[Row] = [
        ("Recipe", *(run.recipe or "not known" for run in runs)),
        ("Method", *(run.method or "not known" for run in runs)),
        ("Images a class", *("not known" if run.ipc is None else Value("count", run.ipc) for run in runs)),
        ("Network", *(run.network for run in runs)),
        ("Seed", *("not known" if run.seed is None else str(run.seed) for run in runs)),
        ("Test images", *(Value("count", run.test_images) for run in runs)),
    ]
    rows += [
        _of_arms(runs, arm, f"Macro AUC, {arm_in_sentence(arm)}", "estimate", "macro_auc", otherwise="not trained")
        for arm in _arms(comparison)
    ]
    rows += [
        _of_runs(runs, "Distilled minus all originals", "difference", "difference"),
        _of_runs(runs, "Gap closed", "estimate", "gap_closed"),
        _of_runs(runs, "Hard-label recovery", "difference", "hard_label_recovery"),
        _of_runs(runs, "Improvement over random", "difference", "improvement_over_random"),
        ("Time of experts and distillation", *map(_making, runs)),
    ]
    return table("", (Column(""), *(Column(run.name) for run in runs)), rows)
