"""The attack on soft labels: found where they follow, not asked of other labels, and what the gate says of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from medistill.privacy.attack import Evidence
from medistill.privacy.attacks.soft_labels import FOLLOWED, HARD, NOT_FINITE, NOT_SOFT, VECTORS, SoftLabelAttack
from medistill.privacy.gate import declared
from medistill.privacy.membership import Membership, SoftLabels
from medistill.privacy.signals import CanaryAnswers, LabelAnswers, SetFacts, ShadowSignals
from medistill.recipe import AuditRecipe
from tests.factories.attacked import FACTS

SOFT = replace(FACTS, soft_labels=True)


@dataclass(frozen=True)
class Told:
    """What shadows' labels say, and no more."""

    facts: SetFacts = SOFT
    shadows: ShadowSignals = field(default_factory=ShadowSignals)


def shadows_that_follow(shift: float, *, seed: int = 0) -> ShadowSignals:
    """Sixteen, ten canaries; networks on all originals know every wrong label."""
    rng = np.random.default_rng(seed)
    held = rng.random((16, 10)) < 0.5
    said = rng.normal(size=held.shape) + shift * held
    known = np.where(held, 5.0, -5.0) + rng.normal(size=held.shape)
    labels = (LabelAnswers("distilled", said, held), LabelAnswers("raw", known, held))
    return ShadowSignals(canaries=(CanaryAnswers("distilled", said > 0, held),), labels=labels)


def judged(told: Any) -> Any:
    attack = SoftLabelAttack()
    (one,) = attack.judge(attack.run(told), told.facts, AuditRecipe())
    return one


def test_labels_that_follow_fail_and_the_control_is_found_beside_them() -> None:
    for shift, verdict in ((1.5, "fail"), (0.0, "pass")):
        told = Told(shadows=shadows_that_follow(shift))
        criterion, figures = judged(told), SoftLabelAttack().figures(SoftLabelAttack().run(told), FOLLOWED)
        assert (criterion.verdict, criterion.threshold, criterion.figure) == (verdict, 0.01, figures.of_set.value)
        assert figures.originals.value < 1e-12  # the positive control
        assert figures.control.value is None


def test_networks_on_originals_tell_every_pair_apart() -> None:
    found = SoftLabelAttack().run(Told(shadows=shadows_that_follow(1.5))).soft_labels
    assert found is not None
    of_set, control = found.of("distilled"), found.of("raw")
    assert of_set is not None
    assert control is not None
    assert (of_set.shadows, of_set.canaries, control.told_apart) == (16, 10, 1.0)
    assert of_set.told_apart is not None
    assert 0.7 < of_set.told_apart < 1


@pytest.mark.parametrize(("facts", "why"), [(FACTS, HARD), (replace(FACTS, by_targets=True), VECTORS)])
def test_other_labels_are_not_asked_and_no_shadow_is_made_for_them(facts: SetFacts, why: str) -> None:
    class WithoutShadows:
        def __init__(self) -> None:
            self.facts = facts

    attack = SoftLabelAttack()
    evidence = attack.run(WithoutShadows())  # type: ignore[arg-type]
    assert evidence.soft_labels == SoftLabels((), why)
    assert attack.judge(evidence, facts, AuditRecipe()) == ()
    assert attack.figures(evidence, FOLLOWED).of_set.value is None


def test_what_cannot_be_told_is_not_enough_evidence() -> None:
    canaries = shadows_that_follow(0.0).canaries
    for shadows, why in (
        (ShadowSignals(reason="audit.shadows is 0"), "audit.shadows is 0"),
        (ShadowSignals(), "audit.canaries is 0"),
        (ShadowSignals(canaries=canaries), NOT_SOFT),
        (
            ShadowSignals(
                canaries=canaries, labels=(LabelAnswers("distilled", np.zeros((16, 10)), canaries[0].inserted),)
            ),
            "say the same",
        ),
    ):
        criterion = judged(Told(shadows=shadows))
        assert (criterion.figure, criterion.verdict) == (None, "not enough evidence")
        assert why in criterion.reason


@pytest.mark.parametrize("shadows", [4, 5, 6, 7])
def test_too_few_guesses_to_fail_are_not_enough_evidence(shadows: int) -> None:
    """Of one canary, wherever the coins fell: six guesses cannot bring the chance below 1 in 100, eight can."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        said, held = rng.normal(size=(shadows, 1)), rng.random((shadows, 1)) < 0.5
        labels = (LabelAnswers("distilled", said, held),)
        told = ShadowSignals(canaries=(CanaryAnswers("distilled", said > 0, held),), labels=labels)
        criterion = judged(Told(shadows=told))
        assert criterion.verdict == "not enough evidence"
        assert criterion.figure is not None
        made = 2 * (shadows // 2) if held.any() and not held.all() else 0
        assert f"all {made} guesses were right" in criterion.reason


def test_with_eight_guesses_it_passes_or_fails() -> None:
    said, held = np.arange(8.0)[:, None], np.arange(8)[:, None] > 3
    for inserted, verdict in ((held, "fail"), (~held, "pass")):
        told = ShadowSignals(
            canaries=(CanaryAnswers("distilled", said > 0, held),), labels=(LabelAnswers("distilled", said, inserted),)
        )
        assert judged(Told(shadows=told)).verdict == verdict


def test_ties_leave_fewer_guesses() -> None:
    """Sixteen shadows and ten canaries, and only two shadows say anything of one."""
    said, held = np.zeros((16, 10)), np.random.default_rng(0).random((16, 10)) < 0.5
    said[0, 0], said[1, 0] = 1.0, -1.0
    told = ShadowSignals(
        canaries=(CanaryAnswers("distilled", said > 0, held),), labels=(LabelAnswers("distilled", said, held),)
    )
    criterion = judged(Told(shadows=told))
    assert (criterion.verdict, "all 2 guesses" in criterion.reason) == ("not enough evidence", True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_labels_that_say_no_number_are_not_enough_evidence(bad: float) -> None:
    told = shadows_that_follow(0.0)
    said = told.labels[0].scores.copy()
    said[3, 2] = bad
    told = replace(told, labels=(replace(told.labels[0], scores=said), told.labels[1]))
    criterion = judged(Told(shadows=told))
    assert (criterion.figure, criterion.verdict, criterion.reason) == (None, "not enough evidence", NOT_FINITE)


def test_an_audit_that_left_it_out_says_so_once_for_all_attacks_on_people() -> None:
    (one,) = SoftLabelAttack().skipped(AuditRecipe())
    assert one.name == "Membership inference"
    assert declared()[FOLLOWED.key] == FOLLOWED
    assert SoftLabelAttack().judge(Evidence(), SOFT, AuditRecipe()) == ()


def test_what_was_found_is_written_and_read_again_and_former_records_have_none() -> None:
    found = SoftLabelAttack().run(Told(shadows=shadows_that_follow(1.5))).soft_labels
    record = Membership((), (), 0, 16, 1, 2, 50, 0.95, 1.0, soft_labels=found)
    assert Membership.from_json(record.as_json()) == record
    former = {name: value for name, value in record.as_json().items() if name != "soft_labels"}
    assert Membership.from_json(former).soft_labels is None
