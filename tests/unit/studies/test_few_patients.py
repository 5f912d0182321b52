"""Few patients of a site: how they are drawn, what is left out in turn, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus
from medistill.errors import UsageError
from medistill.studies.exchange.sites import ExchangeSite, plan_exchange
from medistill.studies.exchange.small_hospital import few_patients, refuse_hospital
from tests.factories.sited_corpus import corpus_of


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """East has 20 patients of A with two images each and 10 of B with one; west has A alone."""
    cells = [("e", "A", "train", 40), ("e", "B", "train", 10), ("w", "A", "train", 9)]
    cells += [(site, "A", split, 3) for site in ("e", "w") for split in ("val", "test")]
    cells += [("e", "B", split, 3) for split in ("val", "test")]
    found = corpus_of(tmp_path, *cells)
    groups = found.groups.copy()
    groups[:40] = np.repeat(np.arange(20) + 1000, 2)
    return replace(found, groups=groups)


def site_of(corpus: Corpus, name: str) -> ExchangeSite:
    return next(one for one in plan_exchange(corpus, images=2) if one.name == name)


def test_patients_come_whole_in_their_shares_and_smaller_draws_lie_in_larger_ones(corpus: Corpus) -> None:
    east = site_of(corpus, "e")
    found, notes = few_patients(corpus, east, (6, 15, 30, 31), draws=3, folds=5, seed=0)
    assert notes == ["31 patients were not taken: e has 30 training patients."]
    assert [(few.size, few.draw) for few in found] == [(size, draw) for size in (6, 15, 30) for draw in range(3)]
    by = {(few.size, few.draw): few for few in found}
    for few in found:
        groups = corpus.groups[few.rows]
        assert len(np.unique(groups)) == few.size
        whole = east.rows[np.isin(corpus.groups[east.rows], groups)]
        np.testing.assert_array_equal(np.sort(few.rows), whole)
        of_b = len(np.unique(groups[corpus.labels[few.rows] == 1]))
        assert of_b == few.size // 3
        for patient in np.unique(groups):
            assert len(np.unique(few.fold[groups == patient])) == 1
        for number in np.unique(few.fold):
            assert set(corpus.labels[few.rows[few.fold == number]]) == {0, 1}
            assert set(corpus.labels[few.rows[few.fold != number]]) == {0, 1}
    for draw in range(3):
        assert set(by[6, draw].rows) < set(by[15, draw].rows) < set(by[30, draw].rows)
    assert set(by[6, 0].rows) != set(by[6, 1].rows)
    again, _ = few_patients(corpus, east, (6,), draws=1, folds=5, seed=0)
    np.testing.assert_array_equal(again[0].rows, by[6, 0].rows)
    assert len(np.unique(by[6, 0].fold)) == 2  # as many parts as the rarer class has patients


def test_a_hospital_needs_a_name_and_two_classes(corpus: Corpus) -> None:
    sites = plan_exchange(corpus, images=2)
    assert refuse_hospital("e", sites).name == "e"
    with pytest.raises(UsageError, match=r"exchange.hospital = north is no site of the corpus.*its sites: e, w"):
        refuse_hospital("north", sites)
    with pytest.raises(UsageError, match=r"w, the site of exchange.hospital, has one class, A"):
        refuse_hospital("w", sites)
