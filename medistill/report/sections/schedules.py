"""Schedules: how each arm's networks were trained, and what that was chosen from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from matplotlib.figure import Figure as Drawn
from matplotlib.ticker import NullLocator

from medistill.evaluate.schedule_choice import ScheduleChoice
from medistill.report.arm_style import ARM_STYLES, arm_in_sentence
from medistill.report.axes import framed, named
from medistill.report.blocks import Beside, Block, Downloads, Drawing, Figure, Prose, arm_legend
from medistill.report.section import Section
from medistill.report.table import Column, Row, Table, table
from medistill.report.view import ReportView
from medistill.report.wording import count, counted, listed, number, seconds

WIDTH, HEIGHT = 3.4, 2.5
"""Of the figure, in inches, so that a phone shows it at full size."""


def section(view: ReportView) -> Section:
    """What was chosen for each arm, or why nothing was."""
    return Section(
        "schedules",
        "How long and how fast each arm was trained",
        tuple(_chosen(view) if view.evaluation.schedules else _fixed(view)),
        contents="Training",
        data=(
            table(
                "schedules",
                (
                    Column("arm"),
                    Column("updates", "count"),
                    Column("batch", "count"),
                    Column("learning rate", "number"),
                    Column("macro AUC", "number"),
                    Column("networks", "count"),
                    Column("chosen"),
                    Column("reason"),
                ),
                tuple(_rows(view.evaluation.schedules)),
                caption="Ways of training that were tried on each arm.",
            ),
        ),
    )


def _chosen(view: ReportView) -> Iterator[Block]:
    choices = view.evaluation.schedules
    for said in sentences_on(choices):
        yield Prose(said)
    legend = arm_legend([choice.arm for choice in choices], points=True)
    drawing = Drawing("schedules", partial(draw, choices), describe(choices))
    yield Beside(
        (
            Figure(
                "Score by length",
                (drawing, legend),
                "The best way of each length, on patients who are not tested. A line that still rises at its end is "
                "not trained to it.",
            ),
        )
    )
    yield _table(choices)
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
    else:
        yield Prose(
            "The recipe fixes how the networks are trained: nothing was chosen, and how far each arm was from its end "
            "is not known."
        )


def sentences_on(choices: Sequence[ScheduleChoice]) -> tuple[str, ...]:
    """How the choice was made, what it took, and which arms were not trained to their end; empty without a choice."""
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
        "Learning rate, batch size and number of updates were chosen for each arm in the same way: all rates and "
        "batches at the shortest length, then the best of them at twice the length and so on, until the score rose no "
        "more. The rate is constant, and a network is the mean of its parameters over the last quarter of its way.",
        f"Ways of training were scored by macro AUC: {'; '.join(by_arm)}. Test images played no part. A score that was "
        "chosen as the best is a little too good; figures on test images are not.",
        f"{counted(tried, 'way')} were tried in {seconds(took)}.",
    ]
    if unfinished:
        said.append(
            f"Not trained to its end: {listed(unfinished)}. The score still rose at the longest training that the "
            "recipe allows (schedule.most_updates), so longer training may do better."
        )
    return tuple(said)


def _table(choices: Sequence[ScheduleChoice]) -> Table:
    return table(
        "How each arm was trained",
        (
            Column("Trained on", "arm"),
            Column("Updates", "count"),
            Column("Images an update", "count"),
            Column("Learning rate", "general"),
            Column("To its end"),
            Column("Ways tried", "count"),
        ),
        tuple(
            (
                choice.arm,
                choice.chosen.updates,
                choice.chosen.batch_size,
                choice.chosen.lr,
                "not trained to its end" if choice.still_rising else "yes",
                len(choice.trials),
            )
            for choice in choices
        ),
    )


def _rows(choices: Sequence[ScheduleChoice]) -> Iterator[Row]:
    for choice in choices:
        for trial in choice.trials:
            way = trial.candidate
            yield (
                choice.arm,
                way.updates,
                way.batch_size,
                way.lr,
                trial.score if trial.scores else None,
                len(trial.scores),
                "yes" if way == choice.chosen else "no",
                trial.reason,
            )


def draw(choices: Sequence[ScheduleChoice]) -> Drawn:
    """The best score of each arm at each length."""
    figure, axes = framed(WIDTH, HEIGHT)
    lengths: set[int] = set()
    for choice in choices:
        curve = [trial for trial in choice.curve() if trial.scores]
        lengths |= {trial.candidate.updates for trial in curve}
        style = ARM_STYLES[choice.arm]
        axes.plot(
            [trial.candidate.updates for trial in curve],
            [trial.score for trial in curve],
            color=style.mark,
            linestyle=style.line,
            marker=style.marker,
            markersize=4,
            linewidth=1.6,
        )
    axes.set_xscale("log")
    axes.set_xticks(sorted(lengths), labels=[count(length) for length in sorted(lengths)])
    axes.xaxis.set_minor_locator(NullLocator())
    named(axes, "Updates", "Macro AUC, patients not tested")
    return figure


def describe(choices: Sequence[ScheduleChoice]) -> str:
    """What the figure shows, for who cannot see it."""
    by_arm = [
        f"{arm_in_sentence(choice.arm)}: "
        + ", ".join(
            f"{number(trial.score)} after {count(trial.candidate.updates)}" for trial in choice.curve() if trial.scores
        )
        for choice in choices
    ]
    return f"Best macro AUC on patients who are not tested by number of updates. {'; '.join(by_arm)}."
