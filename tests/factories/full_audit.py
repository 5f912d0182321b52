"""An audit in which every attack was made that comes with the package, its figures as long as figures get."""

from __future__ import annotations

from dataclasses import replace

from medistill.evaluate.intervals import Estimate
from medistill.privacy.attack import Attack
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.audit import Audit, CopyFigures, CopyRule
from medistill.privacy.copy_search import CopyAttack
from medistill.privacy.criterion import Asked, Criterion
from medistill.privacy.findings import asked_of_audit, evidence_of
from medistill.privacy.gate import decide
from medistill.privacy.membership import SOURCES, AttackCell, CanaryTest, Detection, MembershipAttack
from medistill.privacy.score_attack import ScoreAttack
from tests.factories import report_example

AREAS = dict(zip(SOURCES, (0.512, 0.934, 0.661), strict=True))
FOUND = dict(zip(SOURCES, (0.0136, 0.884, 0.107), strict=True))
CHANCES = dict(zip(SOURCES, (0.0361, 1e-12, 0.0021), strict=True))
NOT_TESTED = (
    "Reconstruction of training images from the set with outside knowledge or a generator was not tried.",
    "Inference of a trait of a patient from the set was not tried.",
    "Letters that the reader of text does not see, such as handwriting, are not looked for in the set.",
)


def full_audit(*without: str) -> Audit:
    """Every attack but these, by name; the set passes all that has a figure."""
    part = report_example.audited()
    assert part.membership is not None
    attacks = tuple(one for one in all_attacks() if one.name not in without)
    searches = [one for one in attacks if isinstance(one, CopyAttack)]
    scored = [one for one in attacks if isinstance(one, ScoreAttack)]
    shape = part.copies[0]
    whole = replace(
        part,
        rules=tuple(CopyRule(one.space, 0.5, 180) for one in searches),
        copies=tuple(_copies(shape, one.space, of) for one in searches for of in ("distilled", "random", "held out")),
        membership=replace(
            part.membership,
            attacks=tuple(_attack(one.name, source) for one in scored for source in SOURCES),
            canaries=tuple(_canaries(source) for source in SOURCES),
        ),
        not_tested=NOT_TESTED,
    )
    criteria = (
        *(one for one in asked_of_audit(part) if one.name != "Membership inference"),
        *(_criterion(attack, asked, whole) for attack in attacks for asked in attack.asks),
    )
    return replace(whole, criteria=criteria, verdict=decide(criteria))


def usual_audit() -> Audit:
    """Of a set that has neither encoder nor target vectors, and was neither quantised nor pasted together."""
    return full_audit(
        "distance", "real patches", *(one.name for one in all_attacks() if {"encoder", "teacher"} & set(one.knows))
    )


def _copies(shape: CopyFigures, space: str, subject: str) -> CopyFigures:
    return replace(shape, space=space, subject=subject, copies=shape.images if subject == "random" else 0)


def _attack(name: str, source: str) -> MembershipAttack:
    def around(value: float) -> Estimate:
        return Estimate(value, max(0.0, value - 0.0456), min(1.0, value + 0.0456))

    nobody = Estimate.impossible("there are too few")
    rates = (Detection(100, around(FOUND[source]), 0.2), Detection(1000, nobody, None))
    return MembershipAttack(name, source, (AttackCell("all", "", 6000, 180, around(AREAS[source]), rates),))


def _canaries(source: str) -> CanaryTest:
    share = Estimate(0.3, 0.17, 0.46)
    return CanaryTest(source, 20, share, share, CHANCES[source])


def _criterion(attack: Attack, asked: Asked, audit: Audit) -> Criterion:
    found = attack.figures(evidence_of(audit), asked).of_set.value
    fixed = 1.0 if asked.bound == "at least" else 0.0
    threshold = audit.thresholds.get(asked.setting, fixed)
    figure = found if found is not None else threshold
    good = figure >= threshold if asked.bound == "at least" else figure <= threshold
    return Criterion(
        f"{asked.key} ({attack.name})", figure, threshold, "pass" if good else "fail", "", asked, attack.name
    )
