"""The exchange of labels against plain numpy, every split there is, and people drawn where nobody can be a copy."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest

from medistill.privacy import attack_registry, exchange, person_search
from medistill.privacy.attacks.copies_in_detail import CopiesInDetail

RNG = np.random.default_rng(0)


def test_the_evidence_is_what_its_equation_says() -> None:
    held_out, train = RNG.uniform(-0.5, 0.5, (3, 50)), RNG.uniform(-0.5, 0.9, (3, 80))
    for row, found in enumerate(exchange.evidence(train, held_out)):
        z = np.sort(np.arctanh(held_out[row]))[::-1]
        x = max((np.arctanh(train[row].max()) - z[10]) / np.mean(z[:10] - z[10]), 0)
        assert found == pytest.approx(10 * np.log(1 + x / 10) - np.log(80 * 11 / 51))


@pytest.mark.parametrize(("patients", "people"), [(1, 20), (1, 50), (1, 500)])
def test_the_chance_that_one_patient_reaches_it_is_the_evidence_s(patients: int, people: int) -> None:
    """With an exponential tail, whatever its scale, and of however few people it was learned."""
    rng, count = np.random.default_rng(people), 40_000
    train, held_out = (np.tanh(0.02 * rng.exponential(size=(count, n))) for n in (patients, people))
    found = exchange.evidence(train, held_out)
    for chance in (0.1, 0.01):
        assert np.mean(found >= -np.log(chance)) == pytest.approx(chance, abs=4 * np.sqrt(chance / count))


@pytest.mark.parametrize("at_once", [2**21, 100])
def test_exchanges_are_drawn_from_every_split_there_is(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 12 people there are 924 halves; the drawn ones give the same distribution."""
    monkeypatch.setattr(exchange, "AT_ONCE", at_once)
    held_out = np.random.default_rng(4).uniform(-0.6, 0.6, (2, 3, 12))
    flat = held_out.reshape(6, 12)
    every = []
    for side in combinations(range(12), 6):
        other = [k for k in range(12) if k not in side]
        told = exchange.evidence(flat[:, list(side)], flat[:, other]).reshape(2, 3)
        every.append([exchange.reached(way) for way in told])
    assert len(every) == comb(12, 6)
    drawn = exchange.exchanged(held_out, 0.005, np.random.default_rng(0))
    assert len(drawn) == exchange.draws(0.005) == 599
    for share in (0.5, 0.8, 0.9):
        low, high = (np.quantile(every, q, axis=0) for q in (share - 0.08, share + 0.08))
        found = np.quantile(drawn, share, axis=0)
        assert ((low <= found) & (found <= high)).all()


def in_tail(kind: str, rng: np.random.Generator, images: int, count: int) -> np.ndarray:
    """Likeness of images to people who have nothing to do with them, with a lighter or an exponential tail."""
    if kind == "normal":
        return np.tanh(0.2 * rng.normal(size=(images, count)))
    return np.tanh(0.08 * rng.exponential(size=(images, count)) - 0.1)


@pytest.mark.parametrize(
    ("kind", "train", "held_out"),
    [("normal", 60, 300), ("exponential", 60, 300), ("exponential", 1000, 40), ("exponential", 400, 180)],
)
def test_few_sets_of_nobody_pass_however_many_there_are_of_either_split(kind: str, train: int, held_out: int) -> None:
    """One in ten is allowed; exchanges by themselves would pass more than two in ten of the first."""
    level, passed, sets = 0.1, 0, 80
    for draw in range(sets):
        rng = np.random.default_rng([draw, 9])
        known, strange = in_tail(kind, rng, 10, train), in_tail(kind, rng, 10, held_out)
        asked = exchange.thresholds(exchange.exchanged(strange[None], level, rng), level)
        told, nearest = exchange.evidence(known, strange)[None], known.argmax(axis=1)[None]
        passed += bool((exchange.beyond_chance(told, asked) & exchange.beyond_tail(told, nearest, level)).any())
    assert passed <= 17  # 99.9 % of binomial draws at the level


@pytest.mark.parametrize("alike", [0.0, 0.9, 1.0])
def test_images_that_are_much_alike_pass_what_the_tail_allows_no_oftener(alike: float) -> None:
    """Each with its own likeness to everybody, or mostly or altogether with that of the first."""
    level, sets, passed, rng = 0.2, 400, 0, np.random.default_rng(1)
    for _ in range(sets):
        scores = rng.exponential(size=(12, 250))
        mixed = np.where(rng.random((12, 250)) < alike, scores[:1], scores)
        known, strange = np.tanh(0.05 * mixed[:, :150]), np.tanh(0.05 * mixed[:, 150:])
        told = exchange.evidence(known, strange)[None]
        passed += bool(exchange.beyond_tail(told, known.argmax(axis=1)[None], level).any())
    assert passed <= sets * level + 3 * np.sqrt(sets * level)


def test_different_patients_count_and_one_met_twice_does_not() -> None:
    """Of four images two, and one, make up a half and a quarter: P(Poisson(4 e^-t) >= c) is a third of the rate."""
    t, images = 3.0, 4
    rate = images * np.exp(-t)
    at_least_two = 1 - np.exp(-rate) * (1 + rate)
    for patients, expected in (([0, 1, 2, 3], True), ([0, 0, 2, 3], False)):
        told = np.array([[t, t, 0.0, 0.0]])
        found = [exchange.beyond_tail(told, np.array([patients]), 3 * at_least_two * by) for by in (0.99, 1.01)]
        assert [one.tolist() for one in found] == [[[False] * 4], [[expected, expected, False, False]]]


def test_ways_are_measured_by_what_they_usually_reach_and_share_the_rate() -> None:
    by_chance = np.random.default_rng(6).exponential(size=(399, 2, 3)) * np.array([1.0, 10.0])[:, None]
    asked = exchange.thresholds(by_chance, 0.15)
    assert asked[1] == pytest.approx(10 * asked[0], rel=0.35)
    assert ((by_chance >= asked).any(axis=1).mean(axis=0) <= 0.05).all()
    assert ((by_chance >= asked).any(axis=1).mean(axis=0) >= 0.04).all()


@pytest.mark.parametrize("searches", range(1, 40))
def test_any_number_of_searches_has_exchanges_enough(searches: int) -> None:
    level = 0.05 / searches
    asked = exchange.thresholds(np.zeros((exchange.draws(level), 1, 3)), level)
    assert np.isfinite(asked).all()
    with pytest.raises(ValueError, match="exchanges cannot show a rate of"):
        exchange.thresholds(np.zeros((exchange.draws(level) - 1, 1, 3)), level)


def test_a_search_more_lowers_the_rate_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    every = attack_registry.all_attacks()
    people = [one for one in every if isinstance(one, person_search.PersonSearch)]
    assert person_search.rate_of_each() * len(people) == pytest.approx(person_search.FALSE_ALARMS)
    monkeypatch.setattr(attack_registry, "all_attacks", lambda: (*every, CopiesInDetail()))
    assert person_search.rate_of_each() * (len(people) + 1) == pytest.approx(person_search.FALSE_ALARMS)
