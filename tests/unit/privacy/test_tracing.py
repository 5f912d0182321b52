"""Tracing: its scores are those of a naive likelihood ratio, and it finds people in statistics as far as they allow."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medistill.artifacts.projection import Projection, ProjectionRecord
from medistill.privacy.attacks.tracing import NO_STRANGERS, NOT_FINITE, Sums, Tracing, traced
from medistill.privacy.membership import MembershipAttack
from medistill.privacy.signals import Population, Released, SetFacts
from medistill.recipe import Unit
from medistill.statistics.contributions import Blocks
from medistill.statistics.release import release
from medistill.training.exact_normal import BITS

NUMBERS, CLIP, QUIET = 40, 8.0, 1e-3
REPEATED = 400
SPACE = Projection(
    np.zeros(NUMBERS, np.float32), np.ones(NUMBERS, np.float32), ProjectionRecord(kind="encoder", encoder="0" * 64)
)


def people(
    seed: int = 0, *, members: int = 60, strangers: int = 120, images: int = 2, numbers: int = NUMBERS
) -> SimpleNamespace:
    """A corpus of features: two classes with means of their own, directions that vary unalike, persons and images."""
    rng, count = np.random.default_rng(seed), members + strangers
    spread = np.geomspace(1, 0.2, numbers)
    labels = np.repeat(np.arange(count) % 2, images)
    labels[:images] = np.arange(images) % 2  # the first person is in both classes
    features = rng.normal(size=(2, numbers))[labels] + spread * (
        np.repeat(rng.normal(size=(count, numbers)), images, axis=0) + 0.5 * rng.normal(size=(count * images, numbers))
    )
    order = rng.permutation(count * images)
    return SimpleNamespace(
        features=features[order],
        labels=labels[order],
        groups=np.repeat(rng.permutation(10 * count)[:count], images)[order],
        train=np.repeat(np.arange(count) < members, images)[order],
        sites=np.zeros(count * images, int),
        class_names=("a", "b"),
        site_names=("east",),
    )


def signals_of(
    of: SimpleNamespace, *, sigma: float, made_of: np.ndarray | None = None, seed: int = 1, unit: Unit = "patient"
) -> Any:
    """Signals of what is released of the rows ``made_of``: where none are named, of the members. Whoever is in it and
    no member is asked about by nobody."""
    made_of = of.train if made_of is None else made_of
    rows, others = np.flatnonzero(made_of), np.flatnonzero(~of.train & ~made_of)
    units = np.arange(len(of.groups)) if unit == "image" else of.groups
    rng = np.random.default_rng(seed)
    statistics = release(
        lambda some: of.features[rows[some]],
        of.labels[rows],
        units[rows],
        class_names=of.class_names,
        projection=SPACE,
        blocks=Blocks(2, NUMBERS, CLIP, counts=0.05, second=0.0),
        sigma=sigma,
        unit=unit,
        noise=lambda count: np.rint(2**BITS * rng.normal(size=count)).astype(np.int64),
    )
    members = np.flatnonzero(of.train)
    return SimpleNamespace(
        released=Released(statistics, of.labels, units, lambda some: SPACE.apply(of.features[some])),
        population=Population(of, members, others),
        search=SimpleNamespace(subjects=(None, SimpleNamespace(rows=members[:4])), held_out=others),
        rng=lambda *names: np.random.default_rng(5),
        level=0.95,
        smallest_cell=10,
    )


def areas(signals: Any) -> dict[str, MembershipAttack]:
    return {one.source: one for one in Tracing().run(signals).membership}


def naive(of: SimpleNamespace, sums: np.ndarray, sizes: np.ndarray, noise: np.ndarray, *, single: bool) -> np.ndarray:
    """Scores by row, written out: persons one by one, dense matrices, every formula by its definition."""
    vectors: dict[int, np.ndarray] = {}
    shares: dict[int, np.ndarray] = {}
    for person in np.unique(of.groups):
        rows = np.flatnonzero(of.groups == person)
        vectors[person], shares[person] = np.zeros((2, NUMBERS)), np.zeros(2)
        for row in rows:
            feature = of.features[row]
            shortened = feature * min(1.0, CLIP / np.linalg.norm(feature))
            weight = 1.0 if single else 1 / len(rows)
            vectors[person][of.labels[row]] += weight * shortened
            shares[person][of.labels[row]] += weight
    held_out, rng = np.unique(of.groups[~of.train]), np.random.default_rng(5)
    told = np.full(len(of.groups), np.nan)
    asked = np.concatenate([np.flatnonzero(of.train), np.flatnonzero(~of.train)])
    drawn = [int(person) for person in rng.permutation(np.unique(of.groups))]
    kind = {
        person: (of.labels[next(row for row in asked if of.groups[row] == person)], person in held_out)
        for person in drawn
    }
    dealt = [person for c in range(2) for held in (False, True) for person in drawn if kind[person] == (c, held)]
    for part in (dealt[k::5] for k in range(5)):
        others = []
        for c in range(2):
            of_class = [person for person in dealt if kind[person] == (c, True)]
            left = [person for person in of_class if person not in part]
            others += left[: len(of_class) - math.ceil(len(of_class) / 5)]
        mean = [
            sum(vectors[one][c] for one in others) / sum(shares[one][c] for one in others) for c in range(2)
        ]  # fmt: skip
        off = [vectors[one][c] - shares[one][c] * mean[c] for one in others for c in range(2) if shares[one][c] > 0]
        size = [sum(shares[one][c] for one in others) for c in range(2)]
        covariance = sum(np.outer(one, one) for one in off) / len(off)
        level = np.trace(covariance) / NUMBERS * np.eye(NUMBERS)
        top = sum(np.sum((np.outer(one, one) - covariance) ** 2) for one in off) / len(off) ** 2
        share = min(1.0, max(1e-3, top / np.sum((covariance - level) ** 2)))
        covariance = ((1 - share) * covariance + share * level) * len(off) / sum(size)
        for person in part:
            score = 0.0
            for c in range(2):
                if shares[person][c] == 0:
                    continue
                of_sum = sizes[c] * (1 + sizes[c] / size[c]) * covariance + noise[c] ** 2 * np.eye(NUMBERS)
                weigh = np.linalg.inv(of_sum)
                without = np.eye(NUMBERS) - np.outer(mean[c], mean[c]) @ weigh / (mean[c] @ weigh @ mean[c])
                own, left = without @ vectors[person][c], without @ sums[c]
                score += own @ weigh @ left - own @ weigh @ own / 2
            told[of.groups == person] = score
    return told


@pytest.mark.parametrize("unit", ["patient", "image"])
@pytest.mark.parametrize("strangers", [30, 120])  # fewer than there are numbers in each class, and more
def test_scores_are_a_likelihood_ratio_written_out(unit: Unit, strangers: int) -> None:
    of = people(strangers=strangers)
    signals = signals_of(of, sigma=2.0, unit=unit)
    carried = signals.released.statistics
    found = {one.source: one.trials for one in Tracing().scores(signals)}
    rows = np.concatenate([signals.population.members, signals.population.others])
    noise = np.array(carried.record.sums_noise)
    expected = naive(of, carried.sums, carried.sizes, noise, single=unit == "image")
    assert found["distilled"].scores[0] == pytest.approx(expected[rows], rel=1e-6, abs=1e-8)
    assert np.array_equal(found["distilled"].member[0], of.train[rows])


def test_few_people_without_noise_are_found_and_noise_hides_them() -> None:
    of = people()
    quiet = areas(signals_of(of, sigma=QUIET, made_of=of.train & np.isin(of.groups, np.unique(of.groups)[:40])))
    assert quiet["random"].cells[0].auc.value == 1
    few = people(members=10)
    assert areas(signals_of(few, sigma=QUIET))["distilled"].cells[0].auc.low > 0.8
    loud = areas(signals_of(few, sigma=20.0))
    assert loud["distilled"].cells[0].auc.low < 0.5 < loud["distilled"].cells[0].auc.high
    assert loud["raw"].cells[0].auc.low > 0.8


def test_in_statistics_of_strangers_nobody_is_found() -> None:
    """Members and strangers are of one kind, and the statistics are of third people: the area is .5 over draws."""
    found = []
    for seed in range(30):
        of = people(seed, members=120, strangers=180)
        third = np.isin(of.groups, np.unique(of.groups[~of.train])[:60])
        found.append(areas(signals_of(of, sigma=QUIET, made_of=third))["distilled"].cells[0].auc.value)
    assert abs(np.mean(found) - 0.5) < 3 * np.std(found) / np.sqrt(len(found))
    assert np.std(found) < 0.1


def test_few_held_out_people_are_found_no_oftener_than_others_who_are_in_no_sum() -> None:
    """As many strangers are left in each part: else those of whom more are in a part score otherwise than the rest."""
    found = []
    for seed in range(REPEATED):
        of = people(seed, members=60, strangers=75, images=1)
        third = np.random.default_rng(seed).permutation(np.unique(of.groups[~of.train]))[:60]
        signals = signals_of(of, sigma=QUIET, made_of=np.isin(of.groups, third))
        rows = np.concatenate([signals.population.members, signals.population.others])
        told = traced({"distilled": Sums.of(signals.released.statistics)}, rows, signals)
        scores = told["distilled"]  # type: ignore[index]
        above = np.sign(scores[of.train][:, None] - scores[signals.population.others][None])
        found.append((np.mean(above) + 1) / 2)
    assert len(found) == REPEATED
    assert abs(np.mean(found) - 0.5) < 3 * np.std(found) / np.sqrt(len(found))


def test_who_is_a_member_decides_no_score() -> None:
    """As an audit by one run needs it: of people who are all no strangers, coins may show through the sums alone."""
    of, told = people(), []
    signals = signals_of(of, sigma=2.0)
    for seed in range(2):
        people_in = np.random.default_rng(seed).permutation(np.unique(of.groups[of.train]))[:20]
        inside = of.train & np.isin(of.groups, people_in)
        signals.population = Population(of, np.flatnonzero(inside), np.flatnonzero(of.train & ~inside))
        (distilled, _, _) = Tracing().scores(signals)
        order = np.concatenate([signals.population.members, signals.population.others])
        told.append(distilled.trials.scores[0][np.argsort(order)])
    assert np.isfinite(told[0]).all()
    assert np.array_equal(*told)


@pytest.mark.parametrize("what", ["huge", "tiny", "without noise", "no class of the corpus"])
def test_what_statistics_say_of_themselves_breaks_nothing(what: str) -> None:
    of = people(members=20, strangers=40)
    signals = signals_of(of, sigma=2.0)
    given = signals.released
    if what == "no class of the corpus":
        signals.released = replace(given, classes=np.full(len(of.labels), -1))
    else:
        size = {"huge": 1e15, "tiny": 1e-300}.get(what, 1.0)
        carried = given.statistics
        record = carried.record.replaced(clip=max(size, 1e-300), sums_noise=(0.0, size))
        lying = replace(carried, sums=carried.sums * 0 + size, counts=np.array([0.0, size]), record=record)
        project = (lambda some: 1e38 * of.features[some]) if what == "huge" else given.project
        signals.released = replace(given, statistics=lying, project=project)
    told = Tracing().scores(signals)
    assert {one.source for one in told} == {"distilled", "random", "raw"}
    for one in told:
        assert one.trials is None or np.isfinite(one.trials.scores).any()
        assert (one.trials is None) == (one.reason in {NO_STRANGERS, NOT_FINITE})
    assert len(Tracing().run(signals).membership) == 3


def test_without_strangers_of_a_class_there_is_no_score() -> None:
    of = people(members=20, strangers=40)
    signals = signals_of(of, sigma=2.0)
    signals.search.held_out = np.zeros(0, int)
    assert {one.reason for one in Tracing().scores(signals)} == {NO_STRANGERS}
    signals.search.held_out = np.flatnonzero(~of.train & (of.labels == 0))
    both = of.groups[(of.labels == 0) & of.train]
    (distilled, _, _) = Tracing().scores(signals)
    scored = np.isfinite(distilled.trials.scores[0])
    assert scored.any()
    assert np.array_equal(scored[: of.train.sum()], np.isin(of.groups[of.train], both))
    assert [one.reason for one in Tracing().run(signals).membership] == ["", "", ""]


def test_it_is_asked_of_sets_that_carry_statistics_alone() -> None:
    bare = SetFacts("patient", "noise", None, for_encoder=True)
    assert not Tracing().applies(bare)
    assert Tracing().applies(replace(bare, with_statistics=True))
    assert Tracing().scores_one_run(replace(bare, with_statistics=True))
