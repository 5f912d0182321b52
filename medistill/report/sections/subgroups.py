"""Subgroups: the same networks on the test images that share a site, a view, a sex or an age."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from matplotlib.figure import Figure as Drawn

from medistill.artifacts.corpus import Trait
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.predictions import TRAITS
from medistill.evaluate.subgroup import Subgroup
from medistill.report.axes import cut
from medistill.report.blocks import Beside, Block, Downloads, Drawing, Figure, Prose
from medistill.report.caveat import Caveat
from medistill.report.estimates import with_interval
from medistill.report.interval_plots import Mark, PlotRow, plot_differences
from medistill.report.record import Report
from medistill.report.section import Section
from medistill.report.table import FIGURE, Cell, Column, Group, Row, Span, Table, table
from medistill.report.text import Absent, Below, Missing, Strong, Unavailable, Value
from medistill.report.view import ReportView
from medistill.report.wording import class_label, counted, listed

TRAIT_NAMES: Mapping[Trait, str] = {"site": "Site", "view": "View", "sex": "Sex", "age": "Age"}


def section(view: ReportView) -> Section:
    """Every subgroup, and why there are none by other traits."""
    return Section(
        "subgroups",
        f"Subgroups of the test {view.groups}",
        tuple(_blocks(view)),
        contents="Subgroups",
        data=(
            table(
                "subgroups",
                (
                    Column("trait"),
                    Column("name"),
                    Column("images", "count"),
                    Column("patients", "count"),
                    Column("classes"),
                    Column("arm"),
                    *FIGURE,
                ),
                tuple(_rows(view.evaluation)),
                caption="Test images that share a trait.",
            ),
        ),
    )


def _blocks(view: ReportView) -> Iterator[Block]:
    evaluation = view.evaluation
    if evaluation.subgroups:
        yield Prose(
            "The same networks, asked about a part of the test images. Macro AUC is the mean over the classes that "
            "have an AUC in the subgroup, so two subgroups with other classes do not compare. Many subgroups were "
            "looked at: an interval that misses 0 here and there is to be expected."
        )
        if figure := _figure(view):
            yield Beside((figure,))
        yield _table(view)
        yield Downloads(("subgroups",))
    for trait, reason in evaluation.untold.items():
        yield Prose((Strong(f"By {TRAIT_NAMES[trait].lower()}."), " ", Absent(reason)))
    if not evaluation.subgroups and not evaluation.untold:
        yield Prose(Absent("the evaluation looked at no subgroup"))


def _figure(view: ReportView) -> Figure | None:
    raw, subgroups = view.evaluation.difference("raw"), view.evaluation.subgroups
    if raw is None or all(group.difference.value is None for group in subgroups):
        return None
    hidden = "; * not shown, see the table" if any(group.reason for group in subgroups) else ""
    drawing = Drawing("subgroups", partial(subgroup_forest, subgroups, raw.macro_auc), describe(subgroups))
    return Figure("Distilled minus all originals", (drawing,), f"Macro AUC, with {view.level}s{hidden}")


def subgroup_forest(subgroups: Sequence[Subgroup], whole: Estimate) -> Drawn:
    """Distilled minus raw in macro AUC for all test images and in each subgroup, under the name of its trait."""
    shown = [PlotRow("All test images", (Mark(whole, shape="D", strong=True),))]
    trait = ""
    for subgroup in subgroups:
        if subgroup.trait != trait:
            trait = subgroup.trait
            shown.append(PlotRow(TRAIT_NAMES[subgroup.trait]))
        label = f"{cut(class_label(subgroup.name), 18)} *" if subgroup.reason else class_label(subgroup.name)
        shown.append(PlotRow(label, (Mark(subgroup.difference),)))
    return plot_differences(shown, None)


def describe(subgroups: Sequence[Subgroup]) -> str:
    """Of the forest plot of subgroups."""
    groups = "; ".join(
        f"{group.trait} {class_label(group.name)} "
        + ("not shown" if group.reason else with_interval(group.difference, "difference", without=""))
        for group in subgroups
    )
    return f"Difference in macro AUC, distilled images minus all originals, by subgroup: {groups}."


def _table(view: ReportView) -> Table:
    members = {
        trait: found for trait in TRAITS if (found := [one for one in view.evaluation.subgroups if one.trait == trait])
    }
    units = () if view.unit == "image" else (Column(view.units, "count"),)
    return Table(
        "Results in subgroups",
        (
            Column("Subgroup"),
            Column("Images", "count"),
            *units,
            *(Column(Value("arm", arm), "estimate") for arm in view.arms),
            Column("Distilled minus all", "difference"),
        ),
        tuple(
            Group(tuple(_row(view, group) for group in groups), TRAIT_NAMES[trait]) for trait, groups in members.items()
        ),
        caption=f"Macro AUC of each arm; below it its {view.level}.",
        style="wide",
    )


def _row(view: ReportView, group: Subgroup) -> Row:
    units = () if view.unit == "image" else (group.patients,)
    if group.reason:
        width = len(view.arms) + len(units) + 2
        return (class_label(group.name), Span(width, (Unavailable("not shown"), f": {group.reason}")))
    name: Cell = class_label(group.name)
    if len(group.classes) < len(view.evaluation.class_names):
        with_area = listed([class_label(one) for one in group.classes]) or "no class with an AUC"
        name = (class_label(group.name), Below(with_area, wraps=True))
    areas = {arm.arm: arm.macro_auc for arm in group.arms}
    return (name, group.images, *units, *(areas.get(arm) for arm in view.arms), group.difference)


def _rows(evaluation: Evaluation) -> Iterator[Row]:
    for group in evaluation.subgroups:
        first = (group.trait, group.name, group.images, group.patients, "; ".join(group.classes))
        for arm in group.arms:
            yield (*first, arm.arm, "accuracy", arm.accuracy)
            yield (*first, arm.arm, "macro AUC", arm.macro_auc)
        yield (*first, "distilled minus raw", "macro AUC", group.difference)
    for trait, reason in evaluation.untold.items():
        yield (trait, "", None, None, "", "", "", Missing(reason))


def suppressed(report: Report) -> Iterator[Caveat]:
    """Subgroups that are left out because they are small."""
    if hidden := [group for group in report.evaluation.subgroups if group.images is None]:
        yield Caveat(
            "Small subgroups are not shown",
            f"{counted(len(hidden), 'subgroup')} of the test split {'is' if len(hidden) == 1 else 'are'} "
            f"left out: figures of a few could point at {report.somebody}, and would be little more than chance.",
        )
