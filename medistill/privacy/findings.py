"""Findings: what every attack of an audit found, by attack: its figure, its controls, its limit, its verdict.

An audit keeps its figures by kind. Here they are put together by attack again, from the record alone, so that whoever
receives one has the same table. An attack that is not known here, since another version made it, has what its criteria
say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from medistill.evaluate.intervals import Estimate
from medistill.privacy.attack import Attack, Evidence, Figures, Knowledge
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.audit import Audit
from medistill.privacy.criterion import Asked, Criterion, Verdict
from medistill.privacy.gate import decide

CLOSE = 1e-9
"""By how much a criterion's figure and the one in the attack's own record may differ, as a share."""


@dataclass(frozen=True)
class Finding:
    """What an attack found under one of its criteria.

    Attributes:
        name: of the criterion.
        asked: what it asks for.
        threshold: what its figure is held against.
        figures: on the set, on the positive control, on all originals.
        groups: classes and sites in which the set fails it too.
        verdict: of it, on everybody and in these.
        reason: why nothing follows, or what to know of it; else empty.
        not_looked_for: it passes without a look, for that reason: no page may show it as a pass.
    """

    name: str
    asked: Asked
    threshold: float
    figures: Figures
    groups: int
    verdict: Verdict
    reason: str
    not_looked_for: bool = False

    @property
    def control_unseen(self) -> bool:
        """Whether the set passes, and what the attack must find would pass likewise: then a pass says little."""
        control = self.figures.control.value
        if self.verdict != "pass" or self.figures.of_set.value is None or control is None:
            return False
        return self.asked.holds(control, self.threshold)


@dataclass(frozen=True)
class AttackFindings:
    """What an attack found.

    Attributes:
        name: by which records know it.
        plain_words: what it looks for, in everyday words.
        knows: what the attacker has; empty where the attack is not known here.
        findings: one for every kind of criterion.
    """

    name: str
    plain_words: str
    knows: tuple[Knowledge, ...]
    findings: tuple[Finding, ...]


def findings(audit: Audit) -> tuple[AttackFindings, ...]:
    """Of every attack that was made, in the order of the criteria."""
    known, evidence = {attack.name: attack for attack in all_attacks()}, evidence_of(audit)
    names = dict.fromkeys(one.attack for one in audit.criteria if one.attack)
    return tuple(_of_attack(name, known.get(name), audit, evidence) for name in names)


def asked_of_audit(audit: Audit) -> tuple[Criterion, ...]:
    """What the audit asks of itself, and what no attack that was made asks."""
    return tuple(one for one in audit.criteria if not one.attack)


def disowned(audit: Audit) -> tuple[str, ...]:
    """Names of criteria under no attack that is known here, where one that asks the same found something and has no
    criterion: what it found would be told under another name."""
    evidence, known = evidence_of(audit), all_attacks()
    told = {(one.attack, one.asked) for one in audit.criteria}
    hidden = {
        asked
        for attack in known
        for asked in attack.asks
        if (attack.name, asked) not in told and attack.figures(evidence, asked).of_set.value is not None
    }
    names = {attack.name for attack in known}
    return tuple(
        one.name for one in audit.criteria if one.attack not in names and one.figure is not None and one.asked in hidden
    )


def contradicted(audit: Audit) -> tuple[str, ...]:
    """Names of criteria whose figure is not the one that the attack's own record tells."""
    told = ((one, one.figures.of_set.value) for attack in findings(audit) for one in attack.findings)
    figures = {one.name: one.figure for one in audit.criteria}
    return tuple(one.name for one, value in told if value is not None and not _alike(figures[one.name], value))


def evidence_of(audit: Audit) -> Evidence:
    """What all attacks found, as the record keeps it."""
    tried = audit.membership
    return Evidence(
        rules=audit.rules,
        copies=audit.copies,
        leakage=audit.residue,
        membership=() if tried is None else tried.attacks,
        canaries=() if tried is None else tried.canaries,
        one_run=None if tried is None else tried.one_run,
        soft_labels=None if tried is None else tried.soft_labels,
        text=audit.text,
    )


def _of_attack(name: str, attack: Attack | None, audit: Audit, evidence: Evidence) -> AttackFindings:
    kinds: dict[Asked, list[Criterion]] = {}
    for one in audit.criteria:
        if one.attack == name:
            kinds.setdefault(one.asked, []).append(one)
    found = tuple(_finding(criteria, attack, evidence) for criteria in kinds.values())
    if attack is None:
        return AttackFindings(name, name, (), found)
    return AttackFindings(name, attack.plain_words or attack.display_name, attack.knows, found)


def _finding(criteria: list[Criterion], attack: Attack | None, evidence: Evidence) -> Finding:
    """From the criterion on everybody, and those on classes and sites behind it."""
    first, *groups = criteria
    figures = Figures() if attack is None else attack.figures(evidence, first.asked)
    if figures.of_set.value is None and first.figure is not None:
        figures = Figures(
            Estimate(first.figure, reason="its record has no interval"), figures.control, figures.originals
        )
    if first.not_looked_for:
        figures = Figures(Estimate.impossible(first.reason), figures.control, figures.originals)
    verdict = decide(criteria)
    unseen = first.not_looked_for and verdict == "pass"
    return Finding(first.name, first.asked, first.threshold, figures, len(groups), verdict, first.reason, unseen)


def _alike(one: float | None, other: float) -> bool:
    return one is not None and math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
