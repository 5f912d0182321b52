"""The gate: each figure against its threshold, and what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medistill.evaluate.intervals import Estimate
from medistill.privacy.audit import Criterion, Verdict
from medistill.privacy.gate import decide, evidence, membership_hidden, no_copies, no_residue
from medistill.recipe import AuditRecipe
from tests import report_example

THRESHOLDS = AuditRecipe()
AUDIT = report_example.audited()


def criterion(verdict: Verdict) -> Criterion:
    return Criterion("", None, 0.0, verdict, "")


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["pass", "pass"], "pass"),
        (["pass", "not enough evidence"], "not enough evidence"),
        (["not enough evidence", "fail", "pass"], "fail"),
        ([], "not enough evidence"),
    ],
)
def test_one_failure_fails_and_one_gap_keeps_from_passing(verdicts: list[Verdict], expected: Verdict) -> None:
    assert decide([criterion(verdict) for verdict in verdicts]) == expected


@pytest.mark.parametrize(
    ("images", "patients", "unit", "expected"),
    [
        (0, 0, "patient", "not enough evidence"),
        (99, 99, "image", "not enough evidence"),
        (100, 99, "patient", "not enough evidence"),
        (100, 100, "patient", "pass"),
    ],
)
def test_enough_people_must_be_held_out(images: int, patients: int, unit: str, expected: str) -> None:
    found = evidence(images, patients, unit, THRESHOLDS)
    assert found.verdict == expected
    assert bool(found.reason) == (expected != "pass")


def test_a_single_copy_fails_unless_the_recipe_allows_it() -> None:
    figures = replace(AUDIT.copies[0], copies=1, images=40)
    assert no_copies(figures, THRESHOLDS).verdict == "fail"
    assert no_copies(figures, AuditRecipe(most_copies=0.05)).verdict == "pass"
    assert no_copies(replace(figures, copies=0), THRESHOLDS).verdict == "pass"


def test_remains_fail_beyond_chance_alone() -> None:
    clear = replace(AUDIT.residue[0], recovered=Estimate(0.0, 0.0, 0.1), traced=Estimate(0.3, 0.17, 0.46))
    assert [one.verdict for one in no_residue(clear, "real", "", THRESHOLDS)] == ["pass", "fail"]
    weak = replace(clear, traced=Estimate(0.1, 0.02, 0.3))
    assert [one.verdict for one in no_residue(weak, "real", "", THRESHOLDS)] == ["pass", "pass"]
    assert [one.verdict for one in no_residue(None, "noise", "", THRESHOLDS)] == ["pass"]
    (unknown,) = no_residue(None, "real", "it is not known", THRESHOLDS)
    assert (unknown.verdict, unknown.reason) == ("not enough evidence", "it is not known")


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (Estimate(0.2, 0.15, 0.25), "fail"),
        (Estimate(0.06, 0.01, 0.2), "not enough evidence"),
        (Estimate(0.01, 0.0, 0.03), "pass"),
        (Estimate.impossible("too few"), "not enough evidence"),
    ],
)
def test_attacks_are_judged_by_what_they_find(rate: Estimate, expected: str) -> None:
    assert AUDIT.membership is not None
    attack = AUDIT.membership.attacks[0]
    cell = replace(attack.cells[0], detections=(replace(attack.cells[0].detections[0], rate=rate),))
    found = replace(AUDIT.membership, attacks=(replace(attack, cells=(cell,)),), canaries=())
    assert [one.verdict for one in membership_hidden(found, THRESHOLDS)] == [expected]


def test_without_attacks_nothing_passes_and_repeated_canaries_fail() -> None:
    assert [one.verdict for one in membership_hidden(None, THRESHOLDS)] == ["not enough evidence"]
    assert AUDIT.membership is not None
    (canary,) = AUDIT.membership.canaries
    for chance, expected in ((0.2, "pass"), (0.001, "fail"), (None, "not enough evidence")):
        found = replace(AUDIT.membership, attacks=(), canaries=(replace(canary, chance=chance),))
        assert [one.verdict for one in membership_hidden(found, THRESHOLDS)] == [expected]
