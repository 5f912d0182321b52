"""What an audit found, in words: the verdict, the adversary, the attacks."""

from __future__ import annotations

from dataclasses import dataclass

from medistill.evaluate.intervals import Estimate
from medistill.privacy.audit import Audit, Subject
from medistill.privacy.membership import AttackCell, MembershipAttack, Source
from medistill.report.wording import listed, number

SUBJECT_NAMES: dict[Subject, str] = {
    "distilled": "Distilled images",
    "random": "Random originals",
    "held out": "Held-out originals",
}
SOURCE_NAMES: dict[Source, str] = {
    "distilled": "Distilled images",
    "random": "Random originals",
    "raw": "All originals",
}
HEADINGS = {
    "pass": "The set passes the audit",
    "fail": "The set fails the audit",
    "not enough evidence": "Not enough evidence to pass the set",
}
"""Verdict -> how it is told in a few words."""
ADVERSARY = (
    "The adversary holds the distilled set and its recipe, trains networks on the set, may hold images of some people, "
    "and asks which of these people are in the training split, or looks for their images in the set."
)


@dataclass(frozen=True)
class AttackRow:
    """An attack on networks of one source, on everybody or on a class or site.

    Attributes:
        attack: which.
        source: what the networks learnt from.
        group: the class or site; empty for everybody.
        members: patients in the training data; None where not shown.
        non_members: others; likewise.
        auc: of the attack.
        found: shares found where one in 100 and one in 1,000 others may be taken for members.
        reason: why there are no figures; else empty.
    """

    attack: str
    source: Source
    group: str
    members: int | None
    non_members: int | None
    auc: Estimate
    found: tuple[Estimate, ...]
    reason: str


def verdict_sentence(audit: Audit) -> str:
    """What follows for the set, in a sentence or two."""
    if audit.verdict == "pass":
        return (
            "The set passes the audit: nothing that was tried found more than the thresholds of the recipe allow. That "
            "does not show that nothing can be found."
        )
    names = listed([one.name for one in audit.criteria if one.verdict == audit.verdict])
    if audit.verdict == "fail":
        return f"The set fails the audit and should not leave the house. What failed: {names}."
    return f"There is not enough evidence to pass the set. What could not be judged: {names}."


def figure_text(figure: float | None) -> str:
    """A figure of a criterion: a count as it is, a share with three digits."""
    if figure is None:
        return "none"
    return f"{figure:.0f}" if figure >= 2 else number(figure)


def attack_rows(audit: Audit) -> tuple[AttackRow, ...]:
    """Every attack on everybody, then on the classes and sites of those on the distilled set."""
    attacks = audit.membership.attacks if audit.membership is not None else ()
    rows = [_row(attack, cell) for attack in attacks for cell in attack.cells[:1]]
    rows += [_without(attack) for attack in attacks if not attack.cells]
    ours = (attack for attack in attacks if attack.source == "distilled")
    return (*rows, *(_row(attack, cell) for attack in ours for cell in attack.cells[1:]))


def _row(attack: MembershipAttack, cell: AttackCell) -> AttackRow:
    found = tuple(one.rate for one in cell.detections)
    return AttackRow(
        attack.name, attack.source, cell.name, cell.members, cell.non_members, cell.auc, found, cell.reason
    )


def _without(attack: MembershipAttack) -> AttackRow:
    nothing = Estimate.impossible(attack.reason)
    return AttackRow(attack.name, attack.source, "", None, None, nothing, (), attack.reason)
