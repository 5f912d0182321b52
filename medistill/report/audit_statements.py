"""What an audit found, in words: the verdict, the adversary, the attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from medistill.evaluate.intervals import Estimate
from medistill.privacy.attack_registry import all_attacks, display_name
from medistill.privacy.audit import MAKING, Audit, Subject
from medistill.privacy.criterion import Criterion, Verdict
from medistill.privacy.gate import LAXER
from medistill.privacy.membership import AttackCell, MembershipAttack, Source
from medistill.privacy.score_attack import ATTACKED_AT
from medistill.report.attack_words import asked_text, found_text, name_of
from medistill.report.wording import count

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
NOT_AS_SHIPPED = "Passed, but by less than this version asks for"
"""How a pass is told that was laxer than what is shipped."""
MOST_NAMED = 4
"""Criteria that a sentence names."""
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


def standing(audit: Audit) -> Verdict:
    """The verdict, but that a pass which was laxer than what is shipped, or asked for less, is none."""
    return "not enough evidence" if audit.verdict == "pass" and not audit.passed else audit.verdict


def heading(audit: Audit) -> str:
    """The verdict in a few words."""
    return NOT_AS_SHIPPED if standing(audit) != audit.verdict else HEADINGS[audit.verdict]


def verdict_sentence(audit: Audit) -> str:
    """The verdict, and what follows."""
    return f"{heading(audit)}. {consequence(audit)}"


def deviations_sentence(audit: Audit) -> str:
    """Every setting by which the audit differs from the shipped one; empty where none does."""
    deviations = [one.sentence for one in sorted(audit.deviations, key=lambda one: not one.laxer)]
    return f"Settings of the audit that differ from the shipped ones: {'; '.join(deviations)}." if deviations else ""


def outcome(audit: Audit) -> str:
    """What follows for the set, and how many settings are laxer than the shipped ones, which are listed elsewhere."""
    laxer = sum(one.laxer for one in audit.deviations)
    settings = f"{count(laxer)} of its settings {'is' if laxer == 1 else 'are'} laxer than the shipped ones."
    return " ".join(filter(None, (_consequence(audit), settings if laxer else "")))


def reason_text(criterion: Criterion) -> str:
    """Why nothing follows from a criterion, or what to know of it; the laxer settings are listed above."""
    return "the settings are listed above" if criterion.asked == LAXER and criterion.reason else criterion.reason


def consequence(audit: Audit) -> str:
    """What follows for the set, from what, and by which settings of its own."""
    return " ".join(filter(None, (_consequence(audit), deviations_sentence(audit))))


def _consequence(audit: Audit) -> str:
    if standing(audit) != audit.verdict:
        lacking = (
            "" if audit.text is not None else "It did not look for text in the pixels.",
            "" if audit.asks(MAKING) else "It did not ask whether the set is the one that its recipe made.",
        )
        return " ".join(filter(None, ("It should not leave the house on this evidence.", *lacking)))
    if audit.verdict == "pass":
        return (
            "Nothing that was tried found more than the thresholds of the recipe allow. That does not show that "
            "nothing can be found."
        )
    failed = [
        f"{name_of(one)}, {found_text(one)} where {asked_text(one)} was asked"
        for one in audit.criteria
        if one.verdict == "fail"
    ]
    untold = [name_of(one) for one in audit.criteria if one.verdict == "not enough evidence"]
    return " ".join(
        [
            "It should not leave the house." if failed else "It should not leave the house on this evidence.",
            *([f"What failed: {_first(failed)}."] if failed else []),
            *([f"What could not be judged: {_first(untold)}."] if untold else []),
        ]
    )


def _first(entries: Sequence[str]) -> str:
    """The first of several, and how many more there are."""
    more = len(entries) - MOST_NAMED
    return "; ".join([*entries[:MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])


def attack_remarks(audit: Audit) -> tuple[str, ...]:
    """What the attacks on membership that were made say of how they work."""
    made = {attack.name for attack in audit.membership.attacks} if audit.membership is not None else set()
    return tuple(attack.remark for attack in all_attacks() if attack.name in made and attack.remark)


def attack_rows(audit: Audit) -> tuple[AttackRow, ...]:
    """Every attack on everybody, its controls beside it, then those on the distilled set by class and site."""
    attacks = list(audit.membership.attacks) if audit.membership is not None else []
    order = list(dict.fromkeys(attack.name for attack in attacks))
    attacks.sort(key=lambda attack: order.index(attack.name))
    rows = [_row(attack, attack.cells[0]) if attack.cells else _without(attack) for attack in attacks]
    ours = (attack for attack in attacks if attack.source == "distilled")
    return (*rows, *(_row(attack, cell) for attack in ours for cell in attack.cells[1:]))


def figures_by_attack(audit: Audit, figure: Literal["auc", "found"]) -> dict[str, dict[Source, Estimate]]:
    """Attack -> source -> its AUC, or the share of all patients that it finds where the gate judges it."""
    figures: dict[str, dict[Source, Estimate]] = {}
    for attack in audit.membership.attacks if audit.membership is not None else ():
        nothing = Estimate.impossible(attack.reason or "the attack gives no figure")
        value = attack.cells[0].auc if attack.cells else nothing
        if figure == "found":
            rates = [one.rate for cell in attack.cells[:1] for one in cell.detections if one.one_in == ATTACKED_AT]
            value = rates[0] if rates else nothing
        figures.setdefault(display_name(attack.name), {})[attack.source] = value
    return figures


def _row(attack: MembershipAttack, cell: AttackCell) -> AttackRow:
    found = tuple(one.rate for one in cell.detections)
    return AttackRow(
        display_name(attack.name),
        attack.source,
        cell.name,
        cell.members,
        cell.non_members,
        cell.auc,
        found,
        cell.reason,
    )


def _without(attack: MembershipAttack) -> AttackRow:
    nothing = Estimate.impossible(attack.reason)
    return AttackRow(display_name(attack.name), attack.source, "", None, None, nothing, (), attack.reason)
