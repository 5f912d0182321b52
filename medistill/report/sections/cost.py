"""Cost: what training on each arm takes."""

from __future__ import annotations

from collections.abc import Iterator

from medistill.evaluate.evaluation import ArmResult, Evaluation
from medistill.report.blocks import Block, Downloads, Prose
from medistill.report.section import Section
from medistill.report.table import Cell, Column, Group, Row, Table, table
from medistill.report.text import Missing
from medistill.report.view import ReportView

FITTED = Missing("a probe is fitted, without epochs")


def section(view: ReportView) -> Section:
    """The cost of every arm on every network."""
    return Section(
        "cost",
        "What training costs",
        tuple(_blocks(view)),
        contents="Cost",
        data=(
            table(
                "cost",
                (
                    Column("arm"),
                    Column("network"),
                    Column("images", "count"),
                    Column("bytes", "size"),
                    Column("epochs", "count"),
                    Column("images seen", "count"),
                    Column("networks", "count"),
                    Column("seconds", "seconds"),
                    Column("seconds a network", "seconds"),
                ),
                tuple(_data(entry, arm) for entry in view.networks for arm in entry.arms),
                caption="What training on each arm takes.",
            ),
        ),
    )


def _blocks(view: ReportView) -> Iterator[Block]:
    yield Prose(
        " ".join(
            (
                *savings(view.evaluation),
                "Times were taken while the arms were trained, on the hardware named below; images are counted as they "
                "are stored.",
            )
        )
    )
    yield _table(view)
    yield Downloads(("cost",))


def fraction(part: float, whole: float) -> str:
    """How much ``part`` is of a positive ``whole``: "1/57 of", "0.83 times", "1.4 times"."""
    if part <= 0:
        return "next to nothing of"
    ratio = whole / part
    return f"1/{ratio:.0f} of" if ratio >= 1.5 else f"{1 / ratio:.2g} times"


def savings(evaluation: Evaluation) -> tuple[str, ...]:
    """What a recipient of the distilled images saves, one sentence; none where an arm is missing or took no time."""
    distilled, raw = evaluation.arm("distilled"), evaluation.arm("raw")
    if distilled is None or raw is None or raw.bytes <= 0 or raw.seconds <= 0:
        return ()
    if evaluation.fitted:
        seen = ""
    elif raw.images_seen > 0:
        seen = f"{fraction(distilled.images_seen, raw.images_seen)} the images seen and "
    else:
        return ()
    return (
        f"Beside all originals, the distilled images take {fraction(distilled.bytes, raw.bytes)} the bytes, and a "
        f"network that trains on them {seen}{fraction(distilled.seconds_a_network, raw.seconds_a_network)} the time.",
    )


def _table(view: ReportView) -> Table:
    return Table(
        "Cost of training",
        (
            Column("Trained on", "arm"),
            Column("Images", "count"),
            Column("Size", "size"),
            Column("Epochs", "count"),
            Column("Images seen by a network", "count"),
            Column("Time of a network", "seconds"),
            Column("Networks", "count"),
            Column("Time of all", "seconds"),
        ),
        tuple(
            Group(
                tuple(_row(arm) for name in view.arms if (arm := entry.arm(name)) is not None),
                entry.network if view.report.across else "",
            )
            for entry in view.networks
        ),
        style="wide",
    )


def _row(arm: ArmResult) -> Row:
    return (
        arm.arm,
        arm.images,
        arm.bytes,
        *(_passes(arm) if arm.epochs else (FITTED, FITTED)),
        arm.seconds_a_network,
        len(arm.network_accuracy),
        arm.seconds,
    )


def _passes(arm: ArmResult) -> tuple[Cell, Cell]:
    """Epochs and images seen; none of a probe."""
    return (arm.epochs, arm.images_seen) if arm.epochs else (None, None)


def _data(evaluation: Evaluation, arm: ArmResult) -> Row:
    return (
        arm.arm,
        evaluation.network,
        arm.images,
        arm.bytes,
        *_passes(arm),
        len(arm.network_accuracy),
        arm.seconds,
        arm.seconds_a_network,
    )
