"""First screen: the answer of a report before anything is scrolled, as a page shows it and as Markdown opens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from medistill.evaluate.evaluation import ArmResult
from medistill.evaluate.intervals import Estimate
from medistill.recipe.arms import ArmName
from medistill.report import audit_statements
from medistill.report.arm_style import arm_name
from medistill.report.blocks import Block, Prose
from medistill.report.estimates import interval
from medistill.report.one_run_statements import one_run_sentences
from medistill.report.record import Report
from medistill.report.text import Strong
from medistill.report.text_statements import first_screen_text
from medistill.report.view import ReportView
from medistill.report.wording import class_label, classes_listed, counted, listed, number


@dataclass(frozen=True)
class Bar:
    """Where an interval lies on a scale from ``start`` to 1, in percent of its width."""

    start: str
    left: float
    width: float
    point: float


@dataclass(frozen=True)
class Headline:
    """The figure of an arm, large.

    Attributes:
        arm: the arm.
        name: what a reader is shown for it.
        area: its macro AUC; empty where there is none.
        limits: of its interval; empty where there is none.
        reason: why one of these is missing.
        bar: the same as a picture, where all is there.
        images: that its networks were trained on.
        networks: how many there are.
    """

    arm: ArmName
    name: str
    area: str
    limits: str
    reason: str
    bar: Bar | None
    images: int
    networks: int


@dataclass(frozen=True)
class PrivacyState:
    """Whether the set was audited, with what result.

    Attributes:
        standing: a class of the style sheet, which colours it.
        heading: in a few words.
        text: what follows.
        link: what the link to the section is called.
        letters: what was looked for of text in the pixels; empty where nothing is to be said.
    """

    standing: str
    heading: str
    text: str
    link: str
    letters: str


@dataclass(frozen=True)
class FirstScreen:
    """The header of a report.

    Attributes:
        view: the report.
        classes: and sites, and on what was tested.
        headlines: an arm each.
        privacy: None where nobody is shown, as on a benchmark, and nothing was audited.
    """

    template: ClassVar[str] = "first_screen.j2"
    view: ReportView
    classes: str
    headlines: tuple[Headline, ...]
    privacy: PrivacyState | None


def first_screen(view: ReportView) -> FirstScreen:
    """What a report opens with."""
    bars = _bars({name: arm.macro_auc for name, arm in view.arms.items()})
    headlines = tuple(_headline(view.arms[name], bars.get(name)) for name in view.first)
    return FirstScreen(view, _subject(view), headlines, _privacy(view.report))


def opening(report: Report) -> Iterator[Block]:
    """The same for Markdown, behind its heading."""
    evaluation = report.evaluation
    if report.synthetic:
        yield Prose(Strong("Synthetic source: the originals are drawn, not taken of anybody."))
    tested = counted(evaluation.test_images, "test image")
    if report.split_unit in ("patient", "study"):
        tested += f" of {counted(evaluation.test_patients, report.split_unit)}"
    yield Prose(f"{report.title}. {classes_listed(evaluation.class_names)}. {tested}.")
    yield Prose(" ".join((report.verdict.against_raw, report.verdict.against_random, *report.verdict.lost_classes)))
    if report.audit is not None:
        heading = audit_statements.heading(report.audit)
        yield Prose((Strong(f"Privacy: {heading}."), f" {audit_statements.consequence(report.audit)}"))
        if report.audit.membership is not None and report.audit.membership.one_run is not None:
            said = one_run_sentences(report.audit.membership.one_run, report.audit.split_unit)
            yield Prose(" ".join(said))
    elif report.benchmark is None:
        state = "not audited" if report.distilled is not None else "not judged here"
        yield Prose((Strong(f"Privacy: {state}."), f" {report.missing['audit']}."))
    if text := first_screen_text(report):
        yield Prose(text)


def _subject(view: ReportView) -> str:
    """Classes, sites, and the test images."""
    report, evaluation = view.report, view.evaluation
    said = counted(len(evaluation.class_names), "class", "classes")
    if view.few_classes:
        said += f": {listed([class_label(name) for name in evaluation.class_names])}"
    sites = report.corpus.sites if report.corpus is not None else ()
    if len(sites) > 1:
        said += f". {counted(len(sites), 'site')}: {listed([class_label(site) for site in sites])}"
    where = "Tested on all of" if evaluation.tested == "all images" else "Judged on"
    images = counted(evaluation.test_images, "real test image" if report.synthetic is False else "test image")
    patients = "" if view.unit == "image" else f" of {counted(evaluation.test_patients, view.unit)}"
    apart = " that had no part in making them" if evaluation.originals == "apart" else ""
    return f"{said}. {where} {images}{patients}{apart}."


def _headline(arm: ArmResult, bar: Bar | None) -> Headline:
    area = arm.macro_auc
    return Headline(
        arm.arm,
        arm_name(arm.arm),
        "" if area.value is None else number(area.value),
        interval(area),
        area.reason,
        bar,
        arm.images,
        len(arm.network_accuracy),
    )


def _privacy(report: Report) -> PrivacyState | None:
    audit, letters = report.audit, first_screen_text(report)
    if audit is not None:
        standing = audit_statements.standing(audit).replace(" ", "-")
        heading, outcome = audit_statements.heading(audit), audit_statements.outcome(audit)
        return PrivacyState(standing, heading, outcome, "What was tried, and what was not", letters)
    if report.benchmark is not None:
        return None
    why = report.missing["audit"]
    if report.distilled is not None:
        return PrivacyState("not-audited", "not audited", f"Not known: {why}.", "Privacy", letters)
    return PrivacyState("not-audited", "not judged here", f"{why[:1].upper()}{why[1:]}.", "Privacy", letters)


def _bars(estimates: Mapping[ArmName, Estimate]) -> dict[ArmName, Bar]:
    """Each estimate on a common scale from 0.5, or from 0 where something lies below, to 1."""
    whole = {
        arm: (estimate.value, estimate.low, estimate.high)
        for arm, estimate in estimates.items()
        if estimate.value is not None and estimate.low is not None and estimate.high is not None
    }
    start = 0.5 if all(low >= 0.5 for _, low, _ in whole.values()) else 0.0
    scale = 100 / (1 - start)
    return {
        arm: Bar(
            "0.5" if start else "0",
            round((low - start) * scale, 2),
            round((high - low) * scale, 2),
            round((value - start) * scale, 2),
        )
        for arm, (value, low, high) in whole.items()
    }
