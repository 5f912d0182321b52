"""Findings: every attack has its row, with the figures of its own record and of its controls, from the record alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medistill.privacy.attack import Attack, Evidence
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.attacks.copies_in_pixels import CopiesInPixels
from medistill.privacy.attacks.loss import Loss
from medistill.privacy.audit import Audit
from medistill.privacy.criterion import Asked, Criterion
from medistill.privacy.findings import asked_of_audit, contradicted, evidence_of, findings
from medistill.privacy.gate import judge
from medistill.privacy.membership import SOURCES
from medistill.privacy.score_attack import AUC, FOUND
from medistill.recipe import AuditRecipe
from tests.factories import full_audit, report_example
from tests.factories.attacked import FACTS

AUDIT = full_audit.full_audit()


@pytest.mark.parametrize("attack", all_attacks(), ids=lambda attack: attack.name)
def test_every_attack_of_the_package_says_what_it_looks_for_and_who_can(attack: Attack) -> None:
    assert attack.plain_words
    assert attack.plain_words != attack.display_name
    assert "set" in attack.knows
    assert len(set(attack.knows)) == len(attack.knows)
    for asked in attack.asks:
        assert asked.reads_as == "number" or "epsilon" not in asked.key  # which is no share of anything


def test_every_attack_has_a_row_for_all_that_it_asks() -> None:
    found = {one.name: one for one in findings(AUDIT)}
    assert set(found) == {attack.name for attack in all_attacks()}
    for attack in all_attacks():
        assert [one.asked for one in found[attack.name].findings] == list(attack.asks)


def test_figures_and_controls_are_those_of_the_record() -> None:
    (loss,) = (one for one in findings(AUDIT) if one.name == "loss")
    assert loss.knows == ("set", "recipe", "person")
    share, area = loss.findings
    assert (share.asked, area.asked) == (FOUND, AUC)
    assert AUDIT.membership is not None
    told = {one.source: one.cells[0] for one in AUDIT.membership.attacks if one.name == "loss"}
    assert area.figures.of_set == told["distilled"].auc
    assert area.figures.control == told["random"].auc
    assert share.figures.originals == told["raw"].detections[0].rate
    (pixels,) = (one for one in findings(AUDIT) if one.name == "copies in pixels")
    figures = pixels.findings[0].figures
    assert (figures.of_set.value, figures.control.value, figures.originals.value) == (0, 1, None)


def test_bounds_of_one_run_stand_beside_each_other() -> None:
    (found,) = (one for one in findings(AUDIT) if one.name == "one run")
    assert AUDIT.membership is not None
    assert AUDIT.membership.one_run is not None
    bounds = {one.source: one.epsilon for one in AUDIT.membership.one_run.bounds}
    figures = found.findings[0].figures
    shown = (figures.of_set.value, figures.control.value, figures.originals.value)
    assert shown == tuple(bounds.get(source) for source in SOURCES)
    assert shown[0] is not None


def test_the_gate_says_which_attack_asks() -> None:
    evidence = {"copies in pixels": evidence_of(report_example.audited())}
    part = replace(evidence["copies in pixels"], rules=report_example.audited().rules[:1])
    told = judge((CopiesInPixels(), Loss()), {"copies in pixels": part}, FACTS, AuditRecipe())
    assert [one.attack for one in told] == ["copies in pixels", ""]  # the loss attack was left out
    assert judge((Loss(),), {"loss": evidence_of(AUDIT)}, FACTS, AuditRecipe())[0].attack == "loss"


def test_what_the_audit_asks_of_itself_has_no_attack() -> None:
    assert [one.asked.key for one in asked_of_audit(AUDIT)] == ["making", "laxer settings", "held out"]


def test_classes_that_fail_stand_with_the_attack_and_make_it_fail() -> None:
    (known,) = (one for one in AUDIT.criteria if (one.attack, one.asked) == ("loss", AUC))
    failing = replace(known, name="AUC (loss attack, class COVID)", figure=0.9, verdict="fail")
    (loss,) = (one for one in findings(with_criteria(AUDIT, failing)) if one.name == "loss")
    area = next(one for one in loss.findings if one.asked == AUC)
    assert (area.groups, area.verdict, area.figures.of_set.value) == (1, "fail", full_audit.AREAS["distilled"])


def test_an_attack_that_is_not_known_here_has_what_its_criterion_says() -> None:
    asked = Asked("epsilon", "at most", "number")
    unknown = Criterion("Lower bound", 3.0, 8.0, "pass", "", asked, "of tomorrow")
    found = findings(with_criteria(AUDIT, unknown))[-1]
    assert (found.name, found.plain_words, found.knows) == ("of tomorrow", "of tomorrow", ())
    figures = found.findings[0].figures
    assert (figures.of_set.value, figures.control.value) == (3.0, None)


def test_a_criterion_that_tells_another_figure_than_its_attack_found_is_named() -> None:
    assert contradicted(AUDIT) == ()
    assert contradicted(report_example.audited()) == ()
    altered = tuple(
        replace(one, figure=0.0) if (one.attack, one.asked) == ("loss", AUC) else one for one in AUDIT.criteria
    )
    assert contradicted(replace(AUDIT, criteria=altered)) == ("auc (loss)",)


def test_an_attack_without_controls_of_its_own_gives_none() -> None:
    class Plain(CopiesInPixels):
        figures = Attack.figures

    told = Plain().figures(Evidence(), CopiesInPixels.asks[0])
    assert {told.of_set.value, told.control.value, told.originals.value} == {None}


def with_criteria(audit: Audit, *more: Criterion) -> Audit:
    return replace(audit, criteria=(*audit.criteria, *more))
