"""Attack plots: what each attack on membership finds, on the networks of each source below each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure

from medistill.evaluate.intervals import Estimate
from medistill.privacy.audit import Audit
from medistill.privacy.criterion import Asked
from medistill.privacy.membership import SOURCES, Source
from medistill.privacy.score_attack import ATTACKED_AT, AUC, FOUND
from medistill.report.arm_style import listed_by_arm
from medistill.report.audit_statements import figures_by_attack
from medistill.report.estimates import with_interval
from medistill.report.interval_plots import PlotRow, arm_mark, ends_of, plot

Entries = Sequence[tuple[str, Mapping[Source, Estimate]]]
"""Attack -> source -> what it finds."""


@dataclass(frozen=True)
class AttackFigure:
    """A figure of the attacks.

    Attributes:
        figure: which of an attack's figures is drawn.
        axis: its name on the axis.
        words: its name in words.
        guessing: what an attack has that knows nothing.
        title: above the drawing.
        text: how to read it, up to the level of the intervals.
        asked: what the gate asks of it.
        last: behind all else that is said of it.
    """

    figure: Literal["found", "auc"]
    axis: str
    words: str
    guessing: float
    title: str
    text: str
    asked: Asked
    last: str = ""


ATTACK_FIGURES = (
    AttackFigure(
        "found",
        "share found",
        "Share of the patients found where 1 in 100 others is wrong",
        1 / ATTACKED_AT,
        "Patients found, 1 in 100 others wrong",
        "Share of the patients in the training data, with",
        FOUND,
    ),
    AttackFigure(
        "auc",
        "AUC",
        "AUC of the attacks on membership",
        0.5,
        "AUC of the attacks",
        "With",
        AUC,
        ". At 1 everybody is told apart",
    ),
)
"""Every figure of the attacks, in the order of the page."""


def entries(audit: Audit, of: AttackFigure) -> Entries:
    """The attacks that give the figure for some source."""
    of_attacks = figures_by_attack(audit, of.figure).items()
    return [(name, values) for name, values in of_attacks if any(one.value is not None for one in values.values())]


def allowed(audit: Audit, of: AttackFigure) -> float | None:
    """What the gate allows; None where it does not ask for the figure."""
    return audit.thresholds.get(of.asked.setting)


def attacks(shown: Entries, label: str, *, guessing: float, most: float | None) -> Figure:
    """A row for each attack, a point for each source.

    Args:
        shown: the attacks.
        label: what the figure is.
        guessing: what an attack that knows nothing has.
        most: what the gate allows, where it asks for that.
    """
    rows = [
        PlotRow(
            name,
            tuple(
                arm_mark(source, values[source], strong=source == "distilled") for source in SOURCES if source in values
            ),
        )
        for name, values in shown
    ]
    reach = max([end for row in rows for mark in row.marks for end in ends_of(mark.estimate)] + [most or guessing])
    return plot(rows, label, limits=(0, min(1.05 * reach, 1.02)), solid=guessing, dashed=most)


def describe(shown: Entries, label: str) -> str:
    """Of the plot of the attacks on membership."""
    each = "; ".join(
        f"{name}: {listed_by_arm({source: with_interval(value, without='') for source, value in values.items()})}"
        for name, values in shown
    )
    return f"{label}, by what the attacked networks learnt from. {each}."
