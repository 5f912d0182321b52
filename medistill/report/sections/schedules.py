"""Schedules: how each arm's networks were trained, or its probes fitted, and what that was chosen from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure as Drawn
from matplotlib.ticker import NullLocator

from medistill.evaluate.schedule_choice import Candidate, ScheduleChoice, Way, extent
from medistill.report.arm_style import ARM_STYLES, arm_in_sentence
from medistill.report.axes import framed, named
from medistill.report.blocks import Beside, Block, Downloads, Drawing, Figure, Prose, arm_legend
from medistill.report.section import Section
from medistill.report.table import Cell, Column, Row, Table, table
from medistill.report.view import ReportView
from medistill.report.wording import count, counted, listed, number, seconds
from medistill.training.penalty import Penalty

WIDTH, HEIGHT = 3.4, 2.5
"""Of the figure, in inches, so that a phone shows it at full size."""


@dataclass(frozen=True)
class _Form:
    """What is said of the choice of one kind of network.

    Attributes:
        heading: of the section.
        chosen_how: how the choice was made, in a sentence or two.
        figure: title of the figure, its caption, and its axis of what was chosen.
        columns: of what describes a way, in the published table.
        cells: a way -> their values.
        shown: the columns of the table on the page between the arm and the number of ways.
        row: a choice -> their values.
        after: what stands before the value of the axis where the figure is told in words.
    """

    heading: str
    chosen_how: str
    figure: tuple[str, str, str]
    columns: tuple[Column, ...]
    cells: Callable[[Way], tuple[Cell, ...]]
    shown: tuple[Column, ...]
    row: Callable[[ScheduleChoice], tuple[Cell, ...]]
    after: str


def _trained(way: Way) -> tuple[Cell, ...]:
    return (way.updates, way.batch_size, way.lr) if isinstance(way, Candidate) else ()


def _fitted(way: Way) -> tuple[Cell, ...]:
    return (way.penalty,) if isinstance(way, Penalty) else ()


_TRAINED = _Form(
    "How long and how fast each arm was trained",
    "Learning rate, batch size and number of updates were chosen for each arm in the same way: all rates and "
    "batches at the shortest length, then the best of them at twice the length and so on, until the score rose no "
    "more. The rate is constant, and a network is the mean of its parameters over the last quarter of its way.",
    (
        "Score by length",
        "The best way of each length, on patients who are not tested. A line that still rises at its end is not "
        "trained to it.",
        "Updates",
    ),
    (Column("updates", "count"), Column("batch", "count"), Column("learning rate", "number")),
    _trained,
    (
        Column("Updates", "count"),
        Column("Images an update", "count"),
        Column("Learning rate", "general"),
        Column("To its end"),
    ),
    lambda choice: (*_trained(choice.chosen), "not trained to its end" if choice.still_rising else "yes"),
    "after",
)
_FITTED = _Form(
    "Under which penalty each arm was fitted",
    "The network is a probe, a linear layer on the features of a frozen encoder. A fit of one goes to the only end "
    "that there is, without epochs or a rate, and comes out alike whatever the seed. Its L2 penalty alone was chosen, "
    "for each arm among the same values and in the same way.",
    (
        "Score by penalty",
        "Each penalty that was tried, on patients who are not tested. Where a line is highest at one of its ends, a "
        "penalty beyond it may do better.",
        "L2 penalty",
    ),
    (Column("penalty", "general"),),
    _fitted,
    (Column("L2 penalty", "general"), Column("Within what was tried")),
    lambda choice: (*_fitted(choice.chosen), "at its edge" if choice.at_edge else "yes"),
    "under",
)


def _form(view: ReportView) -> _Form:
    return _FITTED if view.evaluation.fitted else _TRAINED


def section(view: ReportView) -> Section:
    """What was chosen for each arm, or why nothing was."""
    form = _form(view)
    return Section(
        "schedules",
        form.heading,
        tuple(_chosen(view) if view.evaluation.schedules else _fixed(view)),
        contents="Training",
        data=(
            table(
                "schedules",
                (
                    Column("arm"),
                    *form.columns,
                    Column("macro AUC", "number"),
                    Column("networks", "count"),
                    Column("chosen"),
                    Column("reason"),
                ),
                tuple(_rows(view.evaluation.schedules, form)),
                caption="Ways of training that were tried on each arm.",
            ),
        ),
    )


def _chosen(view: ReportView) -> Iterator[Block]:
    choices, form = view.evaluation.schedules, _form(view)
    title, caption, _ = form.figure
    for said in sentences_on(choices):
        yield Prose(said)
    legend = arm_legend([choice.arm for choice in choices], points=True)
    drawing = Drawing("schedules", partial(draw, choices), describe(choices))
    yield Beside((Figure(title, (drawing, legend), caption),))
    yield _table(choices, form)
    yield Downloads(("schedules",))


def _fixed(view: ReportView) -> Iterator[Block]:
    if view.report.of_classifier:
        yield Prose(
            "The classifier was tested as it was received. How it was trained was settled before, and is no part of "
            "this test."
        )
    elif view.evaluation.tested == "all images":
        yield Prose(
            "Nothing was chosen on these images, since all are tested: networks were trained as those of the set’s own "
            "report were, or as the recipe fixes where that does not say how."
        )
    elif view.evaluation.fitted:
        yield Prose(
            "The recipe fixes the L2 penalty under which probes are fitted (schedule.penalty): nothing was chosen. A "
            "fit goes to the only end that there is."
        )
    else:
        yield Prose(
            "The recipe fixes how the networks are trained: nothing was chosen, and how far each arm was from its end "
            "is not known."
        )


def sentences_on(choices: Sequence[ScheduleChoice]) -> tuple[str, ...]:
    """How the choice was made, what it took, and which arms might do better by another; empty without a choice."""
    if not choices:
        return ()
    took, tried = sum(choice.seconds for choice in choices), sum(len(choice.trials) for choice in choices)
    unfinished = [arm_in_sentence(choice.arm) for choice in choices if choice.still_rising]
    scored = dict.fromkeys(choice.scored_on for choice in choices)
    by_arm = [
        f"{listed([arm_in_sentence(choice.arm) for choice in choices if choice.scored_on == on])} on {on}"
        for on in scored
    ]
    said = [
        (_FITTED if choices[0].fitted else _TRAINED).chosen_how,
        f"Ways of training were scored by macro AUC: {'; '.join(by_arm)}. Test images played no part. A score that was "
        "chosen as the best is a little too good; figures on test images are not.",
        f"{counted(tried, 'way')} were tried in {seconds(took)}.",
    ]
    if unfinished:
        said.append(
            f"Not trained to its end: {listed(unfinished)}. The score still rose at the longest training that the "
            "recipe allows (schedule.most_updates), so longer training may do better."
        )
    if edges := [arm_in_sentence(choice.arm) for choice in choices if choice.at_edge]:
        said.append(
            f"The smallest or the largest penalty that was tried did best for: {listed(edges)}. One beyond it may do "
            "better (schedule.penalties)."
        )
    return tuple(said)


def _table(choices: Sequence[ScheduleChoice], form: _Form) -> Table:
    return table(
        "How each arm was trained",
        (Column("Trained on", "arm"), *form.shown, Column("Ways tried", "count")),
        tuple((choice.arm, *form.row(choice), len(choice.trials)) for choice in choices),
    )


def _rows(choices: Sequence[ScheduleChoice], form: _Form) -> Iterator[Row]:
    for choice in choices:
        for trial in choice.trials:
            yield (
                choice.arm,
                *form.cells(trial.candidate),
                trial.score if trial.scores else None,
                len(trial.scores),
                "yes" if trial.candidate == choice.chosen else "no",
                trial.reason,
            )


def draw(choices: Sequence[ScheduleChoice]) -> Drawn:
    """The best score of each arm at each length, or under each penalty."""
    figure, axes = framed(WIDTH, HEIGHT)
    extents: set[float] = set()
    for choice in choices:
        curve = [trial for trial in choice.curve() if trial.scores]
        extents |= {extent(trial.candidate) for trial in curve}
        style = ARM_STYLES[choice.arm]
        axes.plot(
            [extent(trial.candidate) for trial in curve],
            [trial.score for trial in curve],
            color=style.mark,
            linestyle=style.line,
            marker=style.marker,
            markersize=4,
            linewidth=1.6,
        )
    axes.set_xscale("log")
    axes.set_xticks(sorted(extents), labels=[_extent_words(one) for one in sorted(extents)])
    axes.xaxis.set_minor_locator(NullLocator())
    named(axes, (_FITTED if choices[0].fitted else _TRAINED).figure[2], "Macro AUC, patients not tested")
    return figure


def describe(choices: Sequence[ScheduleChoice]) -> str:
    """What the figure shows, for who cannot see it."""
    form = _FITTED if choices[0].fitted else _TRAINED
    by_arm = [
        f"{arm_in_sentence(choice.arm)}: "
        + ", ".join(
            f"{number(trial.score)} {form.after} {_extent_words(extent(trial.candidate))}"
            for trial in choice.curve()
            if trial.scores
        )
        for choice in choices
    ]
    along = "L2 penalty" if choices[0].fitted else "number of updates"
    return f"Best macro AUC on patients who are not tested by {along}. {'; '.join(by_arm)}."


def _extent_words(value: float) -> str:
    return count(value) if isinstance(value, int) else f"{value:g}"
