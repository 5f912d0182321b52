"""On one page: what a data protection officer signs by. Who could find what, the gate's rule, what was not shown."""

from __future__ import annotations

from collections.abc import Iterator

from medistill.evaluate.intervals import Estimate
from medistill.privacy.attack import Knowledge
from medistill.privacy.audit import Audit
from medistill.privacy.criterion import Criterion, Reading
from medistill.privacy.findings import AttackFindings, Finding, asked_of_audit, findings
from medistill.privacy.gate import HELD_OUT
from medistill.report.attack_words import (
    NOT_ASKED,
    NOT_LOOKED_FOR,
    UNASKED,
    asked_text,
    counted_words,
    figure_text,
    found_text,
    limit_text,
    limits_text,
    verdict_text,
    verdict_word,
    who,
)
from medistill.report.audit_statements import reason_text
from medistill.report.blocks import Block, Bullets, Heading, Prose
from medistill.report.section import Section
from medistill.report.table import Cell, Column, Group, Row, Table
from medistill.report.text import Link, Missing, Note, Small, Strong, Unavailable
from medistill.report.view import ReportView
from medistill.report.wording import level

READ = (
    "Each row is something that was tried on the set. What it found stands beside its limit, and beside what the same "
    "attempt finds in as many real pictures, drawn at random, and in all originals. There it has to find people: where "
    "it does not, that it finds none in the set says little."
)
RULE = (
    "The set passes only if every row passes. One row that fails fails the set; one that could not be judged keeps it "
    "from passing. “Not asked” stands where there was nothing to look for, with the reason: it is no pass, and keeps "
    "no set from one. A figure that is an estimate fails only if its whole interval lies beyond the limit; if the "
    "figure alone does, the row is not judged. The limits are in the recipe. No standard gives any."
)
"""The gate's rule (`medistill.privacy.gate`), for those who sign by it."""
NOT_SHOWN = (
    "That nothing can be found: other attempts, or longer ones, may find more.",
    "That the set is free of personal data, which is a legal judgement and not a measurement.",
)
"""What no audit shows."""
OF_ITSELF = "The audit itself"
"""Above what the audit asks of itself."""
CONTROL_UNSEEN = "real pictures of patients pass here too, so that a pass says little of the set"
"""Why a row that passes is no reassurance."""


def section(view: ReportView) -> Section | None:
    """Of the audit of a report, if it has one."""
    return None if view.report.audit is None else one_page(view.report.audit)


def one_page(audit: Audit) -> Section:
    """An audit as its officer reads it; printed, the section begins a page, and its table is not torn."""
    blocks = (*_tried(audit), *_rule(audit), *_not_shown(audit))
    return Section("on-one-page", "What was tried, and what it found", blocks, contents="Privacy on one page")


def _tried(audit: Audit) -> Iterator[Block]:
    yield Prose((READ, " ", Link("What the words mean.", "glossary")))
    yield _table(audit)


def _table(audit: Audit) -> Table:
    """Rows by what the attacker has."""
    groups: dict[tuple[Knowledge, ...], list[Row]] = {}
    for attack in findings(audit):
        groups.setdefault(attack.knows, []).extend(_row(attack, one) for one in attack.findings)
    of_itself = tuple(map(_own_row, asked_of_audit(audit)))
    told = () if audit.membership is None else (f"In brackets: {level(audit.membership.confidence)}.",)
    caption = (
        *told,
        "People found: by an attempt that may be wrong about one other person in a hundred.",
        "Pairs told apart: of one person who was used and one who was not, the former is named; guessing gives 50 %.",
    )
    return Table(
        "Every attempt, its limit and its controls",
        (
            Column("What was tried"),
            Column("What is counted"),
            Column("In the set"),
            Column("Limit"),
            Column("In real pictures"),
            Column("In all originals"),
            Column("Verdict"),
        ),
        (
            *((Group(of_itself, OF_ITSELF),) if of_itself else ()),
            *(Group(tuple(rows), who(knows)) for knows, rows in groups.items()),
        ),
        caption=" ".join(caption),
        style="sheet",
    )


def _row(attack: AttackFindings, finding: Finding) -> Row:
    figures, reads_as = finding.figures, finding.asked.reads_as
    known = finding.reason or (CONTROL_UNSEEN if finding.control_unseen else "")
    return (
        attack.plain_words,
        counted_words(finding.asked),
        Unavailable(NOT_LOOKED_FOR) if finding.not_looked_for else _cell(figures.of_set, reads_as),
        limit_text(finding.asked, finding.threshold),
        _cell(figures.control, reads_as),
        _cell(figures.originals, reads_as),
        _verdict(verdict_text(finding), known, passed=finding.verdict == "pass"),
    )


def _own_row(one: Criterion) -> Row:
    """Something that the audit asks of itself, without a control; of a pass is told only who was left out."""
    told = one.verdict != "pass" or one.asked == HELD_OUT
    return (
        one.name,
        counted_words(one.asked),
        found_text(one),
        asked_text(one),
        Unavailable(UNASKED),
        Unavailable(UNASKED),
        _verdict(verdict_word(one), reason_text(one) if told else "", passed=one.verdict == "pass"),
    )


def _verdict(word: str, reason: str, *, passed: bool) -> Cell:
    """In letters that stand out where it is no pass; the reason stands among the notes."""
    said = word if passed else Strong(word)
    return (said, Note(reason)) if reason else said


def _cell(estimate: Estimate, reads_as: Reading) -> Cell:
    if estimate.value is None:
        return Unavailable(UNASKED) if estimate.reason in NOT_ASKED else Missing(estimate.reason)
    limits = limits_text(estimate, reads_as)
    figure = figure_text(estimate.value, reads_as)
    return (f"{figure} ", Small(limits)) if limits else figure


def _rule(audit: Audit) -> Iterator[Block]:
    yield Heading("The rule")
    yield Prose(RULE)
    yield Prose(("Formal guarantee: ", audit.guarantee))


def _not_shown(audit: Audit) -> Iterator[Block]:
    yield Heading("What was not shown")
    yield Bullets((*NOT_SHOWN, *audit.not_tested))
