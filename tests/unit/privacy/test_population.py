"""Who attacks ask about: nobody who takes no part in the corpus, and no stranger with an image in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import LEFT_OUT, Corpus
from medistill.privacy.signals import Population
from tests.factories.sited_corpus import corpus_of


def held_out(corpus: Corpus) -> np.ndarray:
    return np.concatenate([corpus.rows("val"), corpus.rows("test")])


def test_patients_of_other_sites_are_no_strangers_to_one_site(tmp_path: Path) -> None:
    cells = [(site, "A", split, count) for site in ("east", "west") for split, count in
             (("train", 6), ("val", 2), ("test", 3))]  # fmt: skip
    corpus = corpus_of(tmp_path / "corpus", *cells)
    east = corpus.sites == corpus.site_names.index("east")
    share = replace(corpus, splits=np.where(east, corpus.splits, LEFT_OUT))
    people = Population.of(share, share, held_out(share))
    assert set(people.members) == set(np.flatnonzero(east & (corpus.splits == 0)))
    assert set(people.others) == set(np.flatnonzero(east & (corpus.splits != 0)))


def test_who_has_an_image_in_training_is_nobody_else(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", ("east", "A", "train", 2), ("east", "A", "test", 3))
    groups = corpus.groups.copy()
    groups[2] = groups[0]
    people = Population.of(replace(corpus, groups=groups), corpus, held_out(corpus))
    assert people.others.tolist() == [3, 4]


def test_what_pruning_left_out_makes_no_stranger_of_a_training_patient(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", ("east", "A", "train", 3), ("east", "A", "val", 2))
    seen = replace(corpus, splits=np.where(np.arange(5) == 1, LEFT_OUT, corpus.splits))
    people = Population.of(corpus, seen, held_out(corpus))
    assert people.members.tolist() == [0, 2]
    assert people.others.tolist() == [3, 4]
