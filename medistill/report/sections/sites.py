"""Sites: what sets that were distilled without a site are worth there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from matplotlib.figure import Figure as Drawn

from medistill.evaluate.intervals import Estimate
from medistill.evaluate.subgroup import Subgroup
from medistill.recipe.arms import ArmName
from medistill.report.arm_style import arm_in_sentence
from medistill.report.blocks import Beside, Block, Downloads, Drawing, Figure, Prose, arm_legend
from medistill.report.caveat import Caveat
from medistill.report.estimates import with_interval
from medistill.report.interval_plots import PlotRow, arm_mark, plot
from medistill.report.record import HeldOutSite, Report
from medistill.report.section import Section
from medistill.report.table import FIGURE, Column, Group, Row, Span, Table, table
from medistill.report.text import Absent, Missing, Small, Text
from medistill.report.view import ReportView
from medistill.report.wording import class_label, counted, listed

SiteAreas = list[tuple[ArmName, Estimate, Estimate]]
"""Arm, its macro AUC where the site had part in the making, and where it was left out."""


def section(view: ReportView) -> Section:
    """Every site that was left out."""
    return Section(
        "sites",
        "Sites that had no part",
        tuple(_blocks(view)),
        contents="Sites",
        data=(
            table(
                "sites",
                (
                    Column("site"),
                    Column("trained"),
                    Column("images", "count"),
                    Column("patients", "count"),
                    Column("arm"),
                    *FIGURE,
                    Column("note"),
                ),
                tuple(row for site in view.report.sites for row in _rows(view.report, site)),
                caption="Each site, tested with networks that were and that were not trained with its images.",
            ),
        ),
    )


def _blocks(view: ReportView) -> Iterator[Block]:
    if not view.report.sites:
        yield Prose(Absent(view.missing("sites", "no site was left out in this run")))
        return
    yield Prose(
        "For each site a set was distilled, and networks were trained, from the other sites alone; then they were "
        "asked about this one. “Held out” is over all images of the site. “Pooled” is the figure of the main "
        "evaluation over the site’s test images, where the site had part in the training. Where the held-out figure is "
        "much lower, networks may know the site rather than the disease; they also learned from fewer images."
    )
    if figure := _figure(view):
        yield Beside((figure,))
    yield _table(view)
    yield Downloads(("sites",))


def pooled_and_held_out(report: Report) -> list[tuple[str, SiteAreas]]:
    """Site -> the macro AUC of each arm with it and without it, sites in their order.

    Means over other classes do not compare: where they differ, the first stands as not available.
    """
    found = []
    for held_out in report.sites:
        if held_out.evaluation is None:
            continue
        group = _subgroup(report, held_out)
        pooled, otherwise = _pooled(group, held_out.evaluation.class_names)
        arms = [(arm.arm, pooled.get(arm.arm, otherwise), arm.macro_auc) for arm in held_out.evaluation.arms]
        found.append((held_out.site, arms))
    return found


def _subgroup(report: Report, site: HeldOutSite) -> Subgroup | None:
    subgroups = report.evaluation.subgroups
    return next((group for group in subgroups if (group.trait, group.name) == ("site", site.site)), None)


def _pooled(group: Subgroup | None, class_names: Sequence[str]) -> tuple[dict[ArmName, Estimate], Estimate]:
    """The macro AUC of each arm in the main evaluation, and what stands in its place where there is none."""
    if group is None:
        return {}, Estimate.impossible("the main evaluation does not show this site by itself")
    if group.classes and set(group.classes) != set(class_names):
        classes = listed([class_label(name) for name in group.classes])
        return {}, Estimate.impossible(f"there it is over other classes ({classes}), so it does not compare")
    reason = group.reason or "the main evaluation does not show this site by itself"
    return {arm.arm: arm.macro_auc for arm in group.arms}, Estimate.impossible(reason)


def _figure(view: ReportView) -> Figure | None:
    pairs = [
        (site, [entry for entry in arms if entry[0] in ("distilled", "raw")])
        for site, arms in pooled_and_held_out(view.report)
    ]
    if all(value.value is None for _, arms in pairs for _, *both in arms for value in both):
        return None
    legend = arm_legend([arm for arm in view.first if arm != "random"], points=True)
    return Figure(
        "Macro AUC at each site",
        (legend, Drawing("sites", partial(held_out, pairs), describe(pairs))),
        f"Full points: pooled. Outlines: the site was held out. With {view.level}s.",
    )


def held_out(pairs: Sequence[tuple[str, SiteAreas]]) -> Drawn:
    """Macro AUC at each site: a full point where the site had part in the making, an outline where it was left out."""
    shown = [
        PlotRow(
            class_label(site),
            tuple(
                arm_mark(arm, estimate, filled=filled)
                for arm, pooled, held in of_site
                for estimate, filled in ((pooled, True), (held, False))
            ),
        )
        for site, of_site in pairs
    ]
    return plot(shown, "Macro AUC at the site")


def describe(pairs: Sequence[tuple[str, SiteAreas]]) -> str:
    """Of the plot of sites."""
    each = "; ".join(
        f"{class_label(site)}: "
        + listed(
            [
                f"{arm_in_sentence(arm)} {with_interval(pooled, without='')} with the site, "
                f"{with_interval(held, without='')} without it"
                for arm, pooled, held in of_site
            ]
        )
        for site, of_site in pairs
    )
    return f"Macro AUC at each site. {each}."


def _table(view: ReportView) -> Table:
    pooled = {site: {arm: area for arm, area, _ in arms} for site, arms in pooled_and_held_out(view.report)}
    return Table(
        "Results at sites that were held out",
        (
            Column("Trained on", "arm"),
            Column("Macro AUC, pooled", "estimate"),
            Column("Macro AUC, held out", "estimate"),
            Column("Accuracy, held out", "share"),
            Column("Training images", "count"),
            Column("Networks", "count"),
        ),
        tuple(
            Group(tuple(_site_rows(view, site, pooled.get(site.site, {}))), _title(view, site))
            for site in view.report.sites
        ),
    )


def _title(view: ReportView, site: HeldOutSite) -> Text:
    found = site.evaluation
    if found is None:
        return class_label(site.site)
    tested = f"{counted(found.test_images, 'test image')}{view.of_units(found.test_patients)}"
    return (f"{class_label(site.site)} ", Small(tested))


def _site_rows(view: ReportView, site: HeldOutSite, pooled: dict[ArmName, Estimate]) -> Iterator[Row]:
    if site.evaluation is None:
        yield (Span(6, Absent(site.reason)),)
        return
    if site.note:
        yield (Span(6, site.note, small=True),)
    for name in view.arms:
        if (arm := site.evaluation.arm(name)) is not None:
            yield (name, pooled[name], arm.macro_auc, arm.accuracy, arm.images, len(arm.network_accuracy))


def _rows(report: Report, site: HeldOutSite) -> Iterator[Row]:
    pooled = _subgroup(report, site)
    if pooled is not None:
        first = (site.site, "with the site", pooled.images, pooled.patients)
        classes = f"macro AUC over the classes {'; '.join(pooled.classes)}"
        for arm in pooled.arms:
            yield (*first, arm.arm, "macro AUC", arm.macro_auc, classes)
            yield (*first, arm.arm, "accuracy", arm.accuracy, "")
        if not pooled.arms:
            yield (*first, "", "", Missing(pooled.reason), "")
    alone = site.evaluation
    if alone is None:
        yield (site.site, "without the site", None, None, "", "", Missing(site.reason), site.note)
        return
    for result in alone.arms:
        last = (site.site, "without the site", alone.test_images, alone.test_patients, result.arm)
        yield (*last, "macro AUC", result.macro_auc, site.note)
        yield (*last, "accuracy", result.accuracy, site.note)


def class_and_site(report: Report) -> Iterator[Caveat]:
    """Classes that a network can tell by the site alone."""
    corpus = report.corpus
    if corpus is None or not (corpus.classes_of_one_site or corpus.sites_of_one_class):
        return
    classes, sites = (
        [class_label(name) for name in names] for names in (corpus.classes_of_one_site, corpus.sites_of_one_class)
    )
    facts = [f"{listed(classes)} {'comes' if len(classes) == 1 else 'come'} from one site only."] if classes else []
    facts += [f"{listed(sites)} {'has' if len(sites) == 1 else 'have'} images of one class only."] if sites else []
    measured = (
        "What sets made without a site are worth there, as far as it can be told, stands with the figures by site."
        if any(site.evaluation is not None for site in report.sites)
        else "The command medistill leave-site-out measures what is left without that."
    )
    yield Caveat(
        "Class and site go together",
        f"{' '.join(facts)} A network may tell classes by the site instead of by the disease, in every arm alike. "
        f"{measured}",
    )
