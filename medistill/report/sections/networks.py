"""Networks: the same arms on other networks than the one that the set was made with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.intervals import Estimate
from medistill.recipe.arms import ArmName
from medistill.report.arm_style import listed_by_arm
from medistill.report.blocks import Beside, Block, Downloads, Drawing, Figure, Heading, Prose, arm_legend
from medistill.report.caveat import Caveat
from medistill.report.encoder_statements import from_scratch_learns, probed
from medistill.report.estimates import with_interval
from medistill.report.interval_plots import plot_arms
from medistill.report.record import Report
from medistill.report.section import Section
from medistill.report.sections.arms import arm_rows, spread
from medistill.report.table import FIGURE, Column, Group, Row, Table, table
from medistill.report.text import Absent, Small
from medistill.report.view import ReportView
from medistill.report.wording import count, sentences


def section(view: ReportView) -> Section:
    """The arms on every network."""
    return Section(
        "networks",
        "Other networks",
        tuple(_blocks(view)),
        contents="Networks",
        data=(
            table(
                "across",
                (Column("network"), Column("parameters", "count"), Column("arm"), *FIGURE),
                tuple(
                    (entry.network, entry.parameters, *row)
                    for entry in view.networks
                    for row in arm_rows(entry)
                    if view.report.across
                ),
                caption="The same arms on other networks.",
            ),
        ),
        brief=tuple(_brief(view.report)),
    )


def one_encoder(report: Report) -> Iterator[Caveat]:
    """That networks which do not see through its encoder learn from a set."""
    if (encoder := probed(report)) is not None:
        yield Caveat(
            "That other networks learn from the images",
            sentences(
                f"They were made for the features of one frozen encoder ({encoder.words}), which whoever uses them "
                "needs.",
                from_scratch_learns(report),
            ),
        )


def _blocks(view: ReportView) -> Iterator[Block]:
    if probed(view.report) is not None:
        yield Prose(from_scratch_learns(view.report))
    if not view.report.across:
        alone = f"the arms were trained on one network only, {view.evaluation.network}"
        yield Prose(Absent(view.missing("across", alone)))
        return
    yield Prose(
        "The set was made with one kind of network in mind. Here the same arms train others. Where the distilled "
        "images fall behind only there, they suit the network that they were made with."
    )
    if any(arm.macro_auc.value is not None for entry in view.networks for arm in entry.arms):
        yield Beside((_figure(view),))
    yield _table(view)
    if "across" in view.report.missing:
        yield Prose(Absent(view.report.missing["across"]))
    yield Downloads(("across",))


def _figure(view: ReportView) -> Figure:
    entries = [(entry.network, {arm.arm: arm.macro_auc for arm in entry.arms}) for entry in view.networks]
    drawing = Drawing("networks", partial(plot_arms, entries), f"Macro AUC on each network. {described(entries)}.")
    parts = (arm_legend(tuple(view.arms), points=True), drawing)
    return Figure("Macro AUC on each network", parts, f"With {view.level}s")


def described(entries: Sequence[tuple[str, dict[ArmName, Estimate]]]) -> str:
    """Of a plot of arms: name -> the macro AUC of each."""
    return "; ".join(
        f"{name}: {listed_by_arm({arm: with_interval(area, without='') for arm, area in areas.items()})}"
        for name, areas in entries
    )


def _table(view: ReportView) -> Table:
    return Table(
        "Results on other networks",
        (
            Column("Trained on", "arm"),
            Column("Macro AUC", "estimate"),
            Column("Spread", "number", left=True),
            Column("Accuracy", "share"),
            Column("Distilled minus this, macro AUC", "difference"),
            Column("Networks", "count"),
        ),
        tuple(
            Group(tuple(_rows(view, entry)), (f"{entry.network} ", Small(f"{count(entry.parameters)} parameters")))
            for entry in view.networks
        ),
    )


def _rows(view: ReportView, entry: Evaluation) -> Iterator[Row]:
    for name in view.arms:
        if (arm := entry.arm(name)) is not None:
            against = entry.difference(name)
            yield (
                name,
                arm.macro_auc,
                spread(arm, arm.macro_auc_spread) if arm.macro_auc.value is not None else None,
                arm.accuracy,
                against.macro_auc if against is not None else None,
                len(arm.network_accuracy),
            )


def _brief(report: Report) -> Iterator[Block]:
    """On other networks and at sites that were left out, in one table."""
    rows: list[Row] = [(entry.network, *_two_arms(entry, "")) for entry in report.across]
    rows += [
        (f"Without site {site.site}, tested there", *_two_arms(site.evaluation, site.reason)) for site in report.sites
    ]
    if not rows:
        return
    yield Heading("On other networks, and at sites that had no part")
    yield table(
        "",
        (
            Column(""),
            Column("Distilled images, macro AUC", "estimate"),
            Column("All originals, macro AUC", "estimate"),
        ),
        rows,
    )
    for site in report.sites:
        if site.note:
            yield Prose(f"Without site {site.site}: {site.note}")


def _two_arms(found: Evaluation | None, reason: str) -> Iterator[Estimate]:
    arms: tuple[ArmName, ...] = ("distilled", "raw")
    for name in arms:
        arm = found.arm(name) if found is not None else None
        yield arm.macro_auc if arm is not None else Estimate.impossible(reason or "it was not trained")
