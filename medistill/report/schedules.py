"""Schedules: how each arm's networks were trained and what that was chosen from, in words, a table and a figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from medistill.evaluate.schedule_choice import ScheduleChoice
from medistill.report.axes import framed, named
from medistill.report.palette import ARM_DASHES, ARM_INKS, ARM_MARKERS
from medistill.report.table import Row, Table, cell
from medistill.report.wording import ARM_NAMES, count, counted, listed, number, seconds

WIDTH, HEIGHT = 3.4, 2.5
"""Of the figure, in inches, so that a phone shows it at full size."""


def schedule_sentences(choices: Sequence[ScheduleChoice]) -> tuple[str, ...]:
    """How the choice was made, what it took, and which arms were not trained to their end; empty without a choice."""
    if not choices:
        return ()
    took, tried = sum(choice.seconds for choice in choices), sum(len(choice.trials) for choice in choices)
    unfinished = [ARM_NAMES[choice.arm].lower() for choice in choices if choice.still_rising]
    scored = dict.fromkeys(choice.scored_on for choice in choices)
    by_arm = [
        f"{listed([ARM_NAMES[choice.arm].lower() for choice in choices if choice.scored_on == on])} on {on}"
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


def schedules_table(choices: Sequence[ScheduleChoice]) -> Table:
    """Every way that was tried."""
    columns = ("arm", "updates", "batch", "learning rate", "macro AUC", "networks", "chosen", "reason")
    return Table("schedules", "Ways of training that were tried on each arm.", columns, tuple(_rows(choices)))


def _rows(choices: Sequence[ScheduleChoice]) -> Iterator[Row]:
    for choice in choices:
        for trial in choice.trials:
            way = trial.candidate
            yield (
                choice.arm,
                str(way.updates),
                str(way.batch_size),
                cell(way.lr),
                cell(trial.score if trial.scores else None),
                str(len(trial.scores)),
                "yes" if way == choice.chosen else "no",
                trial.reason,
            )


def schedules_figure(choices: Sequence[ScheduleChoice]) -> Figure:
    """The best score of each arm at each length."""
    figure, axes = framed(WIDTH, HEIGHT)
    lengths: set[int] = set()
    for choice in choices:
        curve = [trial for trial in choice.curve() if trial.scores]
        lengths |= {trial.candidate.updates for trial in curve}
        axes.plot(
            [trial.candidate.updates for trial in curve],
            [trial.score for trial in curve],
            color=ARM_INKS[choice.arm],
            linestyle=ARM_DASHES[choice.arm],
            marker=ARM_MARKERS[choice.arm],
            markersize=4,
            linewidth=1.6,
        )
    axes.set_xscale("log")
    axes.set_xticks(sorted(lengths), labels=[count(length) for length in sorted(lengths)])
    axes.xaxis.set_minor_locator(NullLocator())
    named(axes, "Updates", "Macro AUC, patients not tested")
    return figure


def schedules_description(choices: Sequence[ScheduleChoice]) -> str:
    """What the figure shows, for who cannot see it."""
    told = [
        f"{ARM_NAMES[choice.arm].lower()}: "
        + ", ".join(
            f"{number(trial.score)} after {count(trial.candidate.updates)}" for trial in choice.curve() if trial.scores
        )
        for choice in choices
    ]
    return f"Best macro AUC on patients who are not tested by number of updates. {'; '.join(told)}."
