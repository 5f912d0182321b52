"""No attack passes a set where the worst that it could have found at these sizes would not have failed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from medistill.privacy.attack import Attack, Evidence
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.attacks.canaries import Canaries, canary_test
from medistill.privacy.attacks.copies_in_pixels import CopiesInPixels
from medistill.privacy.attacks.initialisation_leakage import InitialisationLeakage
from medistill.privacy.attacks.letters import LettersAttack, no_text
from medistill.privacy.attacks.one_run import OneRunAttack
from medistill.privacy.attacks.real_patches import RealPatches
from medistill.privacy.attacks.soft_labels import SoftLabelAttack, label_test
from medistill.privacy.audit import CopyRule
from medistill.privacy.copy_search import AuditSubject, CopySearch, CopySignals
from medistill.privacy.letters import Overlay, PlantedWord, TextFigures
from medistill.privacy.likeness import Likenesses, Originals, likenesses_of
from medistill.privacy.membership import SoftLabels, Source
from medistill.privacy.person_search import PersonSearch
from medistill.privacy.score_attack import ScoreAttack, Scores, measure
from medistill.privacy.signals import CoinScores, LabelAnswers, OneRunSignals, SetFacts, Signals
from medistill.recipe import AuditRecipe
from tests.factories.attacked import FACTS
from tests.factories.full_audit import full_audit

SETTINGS = AuditRecipe()
SOFT: SetFacts = replace(FACTS, soft_labels=True)


def verdicts(attack: Attack, found: Evidence, facts: SetFacts = FACTS) -> dict[str, str]:
    return {one.name: one.verdict for one in attack.judge(found, facts, SETTINGS)}


def same_sizes(attack: Attack, worst: Evidence, mild: Evidence, facts: SetFacts = FACTS) -> set[tuple[str, str]]:
    """Assert that no criterion passes mildly that the worst does not fail; return what was met, (worst, mild)."""
    worse, milder = verdicts(attack, worst, facts), verdicts(attack, mild, facts)
    for name, verdict in milder.items():
        assert verdict != "pass" or worse.get(name) == "fail", name
    return {(worse.get(name, ""), verdict) for name, verdict in milder.items()}


def test_every_attack_is_asked_here() -> None:
    asked = (Canaries, InitialisationLeakage, LettersAttack, OneRunAttack, RealPatches, SoftLabelAttack)
    for attack in all_attacks():
        assert isinstance(attack, (*asked, ScoreAttack, CopySearch, PersonSearch)), attack.name


def test_canaries_need_shadows_and_canaries_enough() -> None:
    numbers, met = np.random.default_rng(0), set()
    for shadows in range(1, 9):
        for count in (1, 2, 3, 6):
            inserted = numbers.random((shadows, count)) < 0.5
            worst = canary_test(inserted, inserted, "distilled", level=0.95)
            everything = (numbers.random((shadows, count)) < share for share in (0, 0.3, 0.7, 1))
            for repeats in everything:
                mild = canary_test(repeats, inserted, "distilled", level=0.95)
                if mild.chance is not None and worst.chance is not None:
                    assert mild.smallest == pytest.approx(worst.chance)
                    assert mild.chance >= worst.chance - 1e-12
                met |= same_sizes(Canaries(), Evidence(canaries=(worst,)), Evidence(canaries=(mild,)))
    assert {("not enough evidence", "not enough evidence"), ("fail", "pass")} <= met
    few = canary_test(np.zeros((4, 1), bool), np.eye(4, 1, dtype=bool), "distilled", level=0.95)
    (said,) = Canaries().judge(Evidence(canaries=(few,)), FACTS, SETTINGS)
    assert (
        said.reason == "it could not have failed: the smallest chance that so few canaries and shadows can show is 0.25"
    )


def test_soft_labels_need_guesses_enough() -> None:
    met = set()
    numbers = np.random.default_rng(0)
    for shadows in range(2, 8):
        for count in (1, 2, 3):
            inserted = numbers.random((shadows, count)) < 0.5

            def found(scores: np.ndarray, inserted: np.ndarray = inserted) -> Evidence:
                return Evidence(soft_labels=SoftLabels((label_test(LabelAnswers("distilled", scores, inserted)),), ""))

            met |= same_sizes(SoftLabelAttack(), found(inserted + 0.0), found(-1.0 * inserted), SOFT)
            met |= same_sizes(SoftLabelAttack(), found(inserted + 0.0), found(numbers.random(inserted.shape)), SOFT)
    assert {("not enough evidence", "not enough evidence"), ("fail", "pass")} <= met


@pytest.mark.parametrize(
    "attack", [one for one in all_attacks() if isinstance(one, ScoreAttack)], ids=lambda one: one.name
)
def test_attacks_on_membership_need_members_and_others_enough(attack: ScoreAttack) -> None:
    met = set()
    for members in (1, 2, 3, 40):
        for others in (1, 99, 100, 250):
            inside = np.arange(members + others) < members

            def found(scores: np.ndarray, inside: np.ndarray = inside) -> Evidence:
                told = Scores.asked_once("distilled", scores, inside, np.arange(len(inside)), {})
                return Evidence(membership=(measure(attack.name, told, 0.95, 10),))

            met |= same_sizes(attack, found(inside + 0.0), found(1.0 - inside))
    assert {("not enough evidence", "not enough evidence"), ("fail", "pass")} <= met


@pytest.mark.parametrize(
    "attack", [one for one in all_attacks() if isinstance(one, ScoreAttack)], ids=lambda one: one.name
)
def test_an_attack_that_finds_nobody_on_its_controls_passes_nothing(attack: ScoreAttack) -> None:
    inside, numbers = np.arange(250) < 120, np.random.default_rng(0)
    blind, seeing, guesses = 0.0 * inside, inside + 0.0, numbers.random(250)

    def found(of_set: np.ndarray, **controls: np.ndarray) -> Evidence:
        scores = {"distilled": of_set, **controls}
        told = (Scores.asked_once(cast(Source, of), one, inside, np.arange(250), {}) for of, one in scores.items())
        return Evidence(membership=tuple(measure(attack.name, one, 0.95, 10) for one in told))

    assert set(verdicts(attack, found(guesses, raw=blind, random=blind)).values()) == {"not enough evidence"}
    assert set(verdicts(attack, found(guesses, raw=guesses)).values()) == {"not enough evidence"}
    assert set(verdicts(attack, found(guesses, raw=blind, random=seeing)).values()) == {"pass"}
    assert set(verdicts(attack, found(guesses)).values()) == {"pass"}  # no control was measured: others say so
    assert set(verdicts(attack, found(seeing, raw=blind, random=blind)).values()) == {"fail"}
    (area,) = (one for one in attack.judge(found(guesses, raw=blind), FACTS, SETTINGS) if one.asked.key == "auc")
    assert area.reason.startswith("its controls do not show that it can tell anybody from strangers (area 0.500")


def test_remains_need_images_and_candidates_enough() -> None:
    met = set()
    for images in (1, 2, 20):
        for candidates in (2, 19, 30, 200):
            if candidates < images:
                continue
            numbers = np.random.default_rng(candidates)
            originals, began = numbers.normal(size=(candidates, 50)), np.arange(images)

            def found(grey: np.ndarray, originals: np.ndarray = originals, began: np.ndarray = began) -> Evidence:
                import torch

                rows = np.arange(len(originals))
                subjects = [SimpleNamespace(name=name, grey=torch.from_numpy(grey).float()[:, None, None],
                                            labels=np.zeros(len(grey), int), rows=began)
                            for name in ("distilled", "random")]  # fmt: skip
                corpus = SimpleNamespace(labels=np.zeros(len(originals), int))
                read = lambda some: torch.from_numpy(originals[some]).float()[:, None, None]  # noqa: E731
                search = SimpleNamespace(train=rows, corpus=corpus, subjects=subjects, read=read)
                known = SimpleNamespace(rows=began, reason="")
                signals = SimpleNamespace(search=search, level=0.95, initialisation=known)
                return InitialisationLeakage().run(cast(Signals, signals))

            met |= same_sizes(InitialisationLeakage(), found(originals[began]), found(-originals[began]))
    assert {("not enough evidence", "not enough evidence"), ("fail", "pass")} <= met


def test_one_run_asks_nothing_that_nobody_could_answer() -> None:
    """With 60 people all guesses right show 2.2 at most: of a promise of 8 nothing is asked, and that is said."""
    inside = np.arange(60) % 2 == 0
    for promised, met in ((8.0, set()), (1.0, {("fail", "pass")})):

        def found(values: np.ndarray, promised: float = promised) -> Evidence:
            scores = (CoinScores("loss", "distilled", False, values),)
            made = OneRunSignals(inside, scores, 1e-5, promised, "")
            return OneRunAttack().run(cast(Signals, SimpleNamespace(one_run=made, level=0.95)))

        worst, mild = found(inside + 0.0), found(1.0 - inside)
        assert same_sizes(OneRunAttack(), worst, mild) == met
        assert ("was not tested" in OneRunAttack().leaves_open(mild)) == (promised == 8.0)


class Given(PersonSearch):
    """A search whose likeness is told: of each image to every original."""

    name, space, display_name, rank = "given", "given", "given", 0

    def __init__(self, like: np.ndarray) -> None:
        self.like = like

    def likenesses(self, subjects: Sequence[AuditSubject], search: CopySignals) -> list[Likenesses]:
        return [likenesses_of(self.like[None].copy(), subject.own, search.originals) for subject in subjects]


def searched(like: np.ndarray, train: int, held_out: int) -> Evidence:
    rows = np.arange(train + held_out)
    originals = Originals(None, rows, rows, rows < train, rows)  # type: ignore[arg-type]
    one = SimpleNamespace(name="distilled", own=np.full(len(like), -1), labels=np.zeros(len(like), int))
    corpus = SimpleNamespace(class_names=("A",), sites=np.zeros(len(rows), int), site_names=("s",), groups=rows)
    search = SimpleNamespace(originals=originals, subjects=(one,), copy_ratio=0.5, corpus=corpus, train=rows[:train],
                             smallest_cell=10)  # fmt: skip
    signals = SimpleNamespace(search=search, rng=lambda *_: np.random.default_rng(0))
    return Given(like).run(cast(Signals, signals))


def test_searches_for_people_need_held_out_people_enough() -> None:
    met = []
    for held_out, images, spread in ((19, 20, 0.08), (20, 1, 0.4), (100, 20, 0.08), (300, 1, 0.08)):
        like = np.random.default_rng(held_out).normal(0, spread, (images, 700 + held_out)).clip(-0.9, 0.9)
        copies = like.copy()
        copies[np.arange(images), np.arange(images)] = 1.0
        met.append(same_sizes(Given(like), searched(copies, 700, held_out), searched(like, 700, held_out)))
    assert met[:2] == [{("not enough evidence", "not enough evidence")}] * 2
    assert met[2:] == [{("fail", "pass")}] * 2


def test_a_search_that_does_not_find_originals_themselves_does_not_pass() -> None:
    of_pixels = tuple(one for one in full_audit().copies if one.space == "pixels")
    for blind, wanted in ((True, "not enough evidence"), (False, "pass")):
        found = Evidence(rules=(CopyRule("pixels", 0.5, 180, blind=blind),), copies=of_pixels)
        assert set(verdicts(CopiesInPixels(), found).values()) == {wanted}


def test_overlays_at_sites_too_small_to_look_at_are_no_pass() -> None:
    planted = (PlantedWord(60, 6, 6, True),)
    text = TextFigures(128, True, "text/ocr", "mask", False, "a reader", 10, (), planted, ())
    small, looked_at = Overlay("A", None, None, None, None, None), Overlay("B", 90, 0.0, 0, None, None)
    for overlays, wanted in (((small,), "not enough evidence"), ((small, looked_at), "pass"), ((looked_at,), "pass")):
        *_, criterion = no_text(replace(text, overlays=overlays))
        assert criterion.verdict == wanted
