"""Membership attacks on made-up answers: what must be found is found, and what is not there is not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from medistill.errors import ArtifactError
from medistill.privacy.attacks.canaries import canary_test
from medistill.privacy.attacks.likelihood_ratio import InAndOut, OutOnly
from medistill.privacy.attacks.loss import Loss
from medistill.privacy.confidence import true_class_confidence
from medistill.privacy.membership import Membership
from medistill.privacy.signals import NetworkAnswers, ShadowSignals
from medistill.privacy.trials import Trials
from tests.factories.attacked import Answered


def loss(confidence, member, groups=None, cells=None, smallest_cell=10):
    groups = np.arange(len(member)) if groups is None else groups
    confidence = np.atleast_2d(confidence)
    answers = NetworkAnswers("distilled", confidence, member, groups, cells or {})
    (told,) = Loss().run(Answered((answers,), smallest_cell=smallest_cell)).membership
    return told


def ratio(confidence, member, way="out only", groups=None, cells=None, seed=0):
    groups = np.arange(member.shape[1]) if groups is None else groups
    shadows = ShadowSignals((NetworkAnswers("distilled", confidence, member, groups, cells or {}),))
    (told,) = {"out only": OutOnly, "in and out": InAndOut}[way]().run(Answered((), shadows, seed=seed)).membership
    return told


def test_confidence_is_the_logit_of_the_true_class_where_float32_rounds_it_to_one():
    logits = torch.randn(3, 50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 12
    labels = np.arange(50) % 4
    own = logits[:, range(50), labels]
    others = logits.masked_fill(torch.nn.functional.one_hot(torch.from_numpy(labels), 4).bool(), -torch.inf)
    wanted = (own - others.logsumexp(dim=-1)).numpy()
    probabilities = logits.float().softmax(dim=-1).numpy()
    assert (probabilities[:, range(50), labels] == 1).any()
    np.testing.assert_allclose(true_class_confidence(probabilities, labels), wanted, rtol=1e-4, atol=1e-4)


def test_the_loss_attack_ranks_by_the_mean_cross_entropy():
    numbers = np.random.default_rng(0)
    logits = torch.from_numpy(numbers.normal(size=(3, 40, 5)))
    labels = torch.arange(40) % 5
    entropy = torch.stack([torch.nn.functional.cross_entropy(one, labels, reduction="none") for one in logits]).mean(0)
    member = np.arange(40) < 20
    auc = np.mean(entropy.numpy()[:20, None] < entropy.numpy()[None, 20:])
    told = loss(true_class_confidence(logits.softmax(-1).numpy(), labels.numpy()), member)
    assert told.cells[0].auc.value == pytest.approx(auc)


def test_what_is_remembered_is_caught_by_the_loss():
    numbers = np.random.default_rng(2)
    member = np.arange(1500) < 400
    told = loss(numbers.normal(size=(5, 1500)) + 8 * member, member).cells[0]
    assert (told.members, told.non_members) == (400, 1100)
    assert told.auc.value > 0.99
    for found in told.detections:
        assert found.rate.low > 0.9
        assert found.chance < 1e-6


def test_ignorance_finds_no_more_than_it_may():
    """Over many data sets: the false positive rate is kept on average, and the chance is not small too often."""
    numbers, rates, chances = np.random.default_rng(3), [], []
    member = np.arange(500) < 200
    for _ in range(300):
        found = loss(numbers.normal(size=500), member).cells[0].detections[0]
        rates.append(found.rate.value)
        chances.append(found.chance)
    assert 0.008 < np.mean(rates) < 0.012
    assert np.mean(np.array(chances) <= 0.05) <= 0.075


def test_a_rate_that_the_sample_cannot_support_is_refused():
    member = np.arange(600) < 300
    at_100, at_1000 = loss(np.arange(600.0), member).cells[0].detections
    assert at_100.rate.value is not None
    assert at_1000.rate.value is None
    assert at_1000.chance is None
    assert "needs 1,000 who were not" in at_1000.rate.reason
    few = loss(np.arange(150.0), np.arange(150) < 51).cells[0].detections[0]
    assert "needs 100 who were not" in few.rate.reason


def test_images_of_a_patient_count_once():
    numbers = np.random.default_rng(5)
    groups = np.repeat(np.arange(300), 4)
    member, scores = groups < 150, numbers.normal(size=300)[groups] + numbers.normal(size=1200)
    told = loss(scores, member, groups).cells[0]
    entropy = -np.logaddexp(0, -scores).reshape(300, 4).mean(axis=1)
    assert (told.members, told.non_members) == (150, 150)
    assert told.auc.value == pytest.approx(np.mean(entropy[:150, None] > entropy[None, 150:]))


def test_of_a_patient_who_was_partly_used_only_the_used_images_count():
    scores = np.array([[5.0, -9.0, 1.0, np.nan, 3.0]])
    member = np.array([[True, False, False, False, True]])
    values, belongs, whose = Trials(scores, member, np.array([7, 7, 8, 8, 9])).by_patient()
    assert values.tolist() == [5.0, 1.0, 3.0]
    assert belongs.tolist() == [True, False, True]
    assert whose.tolist() == [0, 1, 2]


def test_small_cells_are_not_shown_nor_what_would_give_them_away():
    member = np.arange(400) % 2 == 0
    cells = {
        ("class", "rare"): np.arange(12),
        ("class", "less rare"): np.arange(12, 100),
        ("class", "common"): np.arange(100, 400),
        ("site", "east"): np.arange(200),
        ("site", "west"): np.arange(200, 400),
    }
    told = loss(np.random.default_rng(0).normal(size=400), member, cells=cells).cells
    shown = {cell.name: cell for cell in told}
    assert [cell.name for cell in told] == ["", "rare", "less rare", "common", "east", "west"]
    for name in ("rare", "less rare"):
        assert shown[name].members is None
        assert shown[name].auc.value is None
        assert shown[name].reason
    assert shown["common"].members == shown["common"].non_members == 150
    assert shown["east"].auc.value is not None


def test_no_non_member_is_said_and_does_not_crash():
    told = loss(np.arange(50.0), np.ones(50, bool)).cells[0]
    assert told.auc.value is None
    assert told.auc.reason == "there is no non-member"
    assert all(found.rate.value is None for found in told.detections)


@pytest.mark.parametrize("way", ["out only", "in and out"])
def test_what_is_remembered_is_caught_by_the_likelihood_ratio(way):
    """Images differ in how hard they are by far more than membership moves them: the loss alone sees little."""
    numbers = np.random.default_rng(6)
    member = numbers.random((16, 300)) < 0.5
    confidence = 6 * numbers.normal(size=300) + 2.5 * member + numbers.normal(size=(16, 300)) * 0.7
    told = ratio(confidence, member, way).cells[0]
    assert told.auc.low > 0.9
    assert told.detections[0].rate.low > 0.3
    assert told.detections[0].chance == pytest.approx(1 / 200)
    assert loss(confidence[0], member[0]).cells[0].auc.value < 0.75


@pytest.mark.parametrize("way", ["out only", "in and out"])
def test_answers_that_do_not_depend_on_membership_give_nothing_away(way):
    numbers, inside, chances = np.random.default_rng(7), [], []
    for seed in range(20):
        member = numbers.random((8, 150)) < 0.5
        confidence = 6 * numbers.normal(size=150) + numbers.normal(size=(8, 150)) + numbers.normal(size=(8, 1))
        told = ratio(confidence, member, way, seed=seed).cells[0]
        inside.append(told.auc.low <= 0.5 <= told.auc.high)
        chances.append(told.detections[0].chance)
    assert np.mean(inside) >= 0.75
    assert np.mean(np.array(chances) <= 0.05) <= 0.2
    assert np.mean(chances) > 0.3


def test_shadows_that_cannot_be_compared_are_told_so():
    told = ratio(np.zeros((4, 20)), np.ones((4, 20), bool))
    assert told.cells == ()
    assert told.reason


def test_the_record_comes_back_from_json_and_a_damaged_one_is_refused():
    numbers = np.random.default_rng(8)
    member = numbers.random((6, 120)) < 0.5
    attacks = (
        loss(numbers.normal(size=(2, 120)), member[0], cells={("class", "a"): np.arange(5)}),
        ratio(numbers.normal(size=(6, 120)), member, "in and out"),
    )
    canaries = (canary_test(member[:, :4], ~member[:, :4], "raw", level=0.95),)
    record = Membership(attacks, canaries, 2, 6, 1, 2, 50, 0.95, 1.5)
    plain = json.loads(json.dumps(record.as_json(), allow_nan=False))
    assert Membership.from_json(plain) == record
    plain["attacks"][0]["source"] = "else"
    with pytest.raises(ArtifactError, match=r"attacks\.0\.source"):
        Membership.from_json(plain)
