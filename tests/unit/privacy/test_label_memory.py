"""Label memory: the score is what it says, its chance is exact, what follows wrong labels is found."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from medistill.privacy.label_memory import (
    FINEST,
    LEAST,
    chance_of_following,
    guesses,
    labels_say,
    nearness,
    told_apart,
    wrong_over_true,
)


def naive_score(
    labels: list[list[float]], made_for: list[int], near_by: list[float], true: int, wrong: int, kind: str
) -> float:
    """By loops, of one person at squared distances from the images."""
    score, classes = 0.0, sorted(set(made_for))
    for c in classes:
        images = [q for q in range(len(labels)) if made_for[q] == c]
        distances = [near_by[q] for q in images]
        mean = sum(distances) / len(distances)
        spread = math.sqrt(sum((d - mean) ** 2 for d in distances) / len(distances))
        counts = [math.exp(-d / spread) if spread else 1.0 for d in distances]
        for q, count in zip(images, counts, strict=True):
            if kind == "probabilities":
                told = math.log(max(labels[q][wrong], LEAST)) - math.log(max(labels[q][true], LEAST))
            else:
                told = labels[q][wrong] - labels[q][true]
            score += told * count / sum(counts) / len(classes)
    return score


@pytest.mark.parametrize("kind", ["probabilities", "values"])
def test_the_score_is_the_naive_one(kind: str) -> None:
    rng, classes = np.random.default_rng(0), 3
    made_for = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    labels = rng.dirichlet(np.full(classes, 0.1), len(made_for)) if kind == "probabilities" else rng.normal(size=(9, 3))
    labels[0, 1] = 0.0  # of which there is no logarithm
    squared, others = rng.random((4, 9)), rng.random((5, 9))
    squared[3, 3:5] = 0.5  # two images as near
    true, wrong, of_others = np.array([0, 1, 2, 1]), np.array([1, 2, 0, 0]), np.array([0, 0, 1, 2, 2])
    found = wrong_over_true(
        labels_say(labels, kind, nearness(squared, made_for)),  # type: ignore[arg-type]
        true,
        wrong,
        labels_say(labels, kind, nearness(others, made_for)),  # type: ignore[arg-type]
        of_others,
    )
    for k in range(4):

        def naive(near_by: np.ndarray, t: int = int(true[k]), w: int = int(wrong[k])) -> float:
            return naive_score(labels.tolist(), made_for.tolist(), near_by.tolist(), t, w, kind)

        beside = [naive(others[j]) for j in range(5) if of_others[j] == true[k]]
        assert found[k] == pytest.approx(naive(squared[k]) - sum(beside) / len(beside), abs=1e-10)


def test_without_others_of_the_class_nothing_is_taken_off() -> None:
    said = np.array([[0.0, 2.0]])
    assert wrong_over_true(said, np.array([0]), np.array([1]), said[:0], np.zeros(0, int)) == 2.0


def test_classes_for_labels_say_the_same_wherever_the_images_lie() -> None:
    made_for = np.array([0, 0, 1, 1, 1])
    said = labels_say(
        np.eye(2)[made_for], "probabilities", nearness(np.random.default_rng(0).random((50, 5)), made_for)
    )
    assert np.ptp(said, axis=0).max() < 1e-12


def test_guesses_are_centred_ranks_and_of_many_shadows_coarser_ones() -> None:
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=(9, 4)), 1)
    assert (guesses(scores) == 2 * stats.rankdata(scores, axis=0) - 10).all()
    many = guesses(rng.normal(size=(200, 3)))
    assert np.abs(many).max() == FINEST
    assert (guesses(np.ones((5, 2))) == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_guess_follows_from_what_is_no_number(bad: float) -> None:
    scores = np.array([[0.0, 1.0], [bad, 2.0], [1.0, bad]])
    with pytest.raises(ValueError, match="2 of 6 scores of canaries are not finite"):
        guesses(scores)


def test_the_chance_is_that_of_all_ways_to_toss_the_coins() -> None:
    rng = np.random.default_rng(1)
    for shadows, people in [(4, 2), (3, 3), (5, 2)]:
        scores, held = np.round(rng.normal(size=(shadows, people)), 1), rng.random((shadows, people)) < 0.5
        weights = 2 * stats.rankdata(scores, axis=0) - shadows - 1

        def agreement(coins: np.ndarray, weights: np.ndarray = weights) -> float:
            return float((coins * weights).sum())

        tosses = itertools.product((False, True), repeat=shadows * people)
        as_well = [agreement(np.reshape(one, held.shape)) >= agreement(held) for one in tosses]
        assert chance_of_following(scores, held) == pytest.approx(np.mean(as_well), abs=1e-12)


@pytest.mark.parametrize("shadows", [4, 16, 40])
def test_it_is_wrong_no_oftener_than_it_says_whatever_shadows_have_in_common(shadows: int) -> None:
    """Labels of some shadows say a class more of everybody, people's scores go together, and many are equal."""
    rng, runs = np.random.default_rng(shadows), 1500
    common = rng.standard_t(2, size=(runs, shadows, 1)) * 3
    scores = np.round(common + rng.normal(size=(runs, shadows, 10)))
    coins = rng.random((runs, shadows, 10)) < 0.5
    chances = np.array([chance_of_following(one, held) for one, held in zip(scores, coins, strict=True)])
    for level in (0.01, 0.05, 0.2):
        low = stats.binomtest(int((chances <= level).sum()), runs).proportion_ci(0.999).low
        assert low <= level
    assert (chances <= 0.05).mean() > 0.02  # and it is not merely careful
    assert abs(chances.mean() - 0.5) < 0.04


def test_labels_that_follow_are_found_and_those_that_go_the_other_way_are_not() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(200):
        held = rng.random((16, 10)) < 0.5
        found.append(chance_of_following(held * 0.8 + rng.normal(size=(16, 10)), held))
    assert np.mean(np.array(found) <= 0.01) > 0.9
    held = rng.random((16, 10)) < 0.5
    assert chance_of_following(1.0 * held, held) < 1e-20
    assert chance_of_following(-1.0 * held, held) > 0.999


def test_scores_that_are_all_equal_tell_nothing() -> None:
    held = np.array([[True, False], [False, True]])
    assert chance_of_following(np.zeros((2, 2)), held) is None
    assert told_apart(np.zeros((2, 2)), held) == 0.5


def test_pairs_that_are_told_apart_are_those_of_one_person() -> None:
    rng = np.random.default_rng(4)
    scores, held = rng.normal(size=(7, 1)), np.array([[1], [0], [1], [1], [0], [0], [1]], bool)
    area = stats.mannwhitneyu(scores[held[:, 0], 0], scores[~held[:, 0], 0]).statistic / 12
    assert told_apart(scores, held) == pytest.approx(area)
    both = told_apart(np.hstack([scores, 100 - scores]), np.hstack([held, held]))
    assert both == pytest.approx(0.5)  # what is said of one person is held against nothing that is said of another
    assert told_apart(scores, np.ones((7, 1), bool)) is None
