"""A sender who does harm and one who helps, planted: what the guard for home takes of each, and what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from medistill.artifacts.corpus import SPLITS, Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.encoders.encoder import Encoder
from medistill.evaluate.hospital_curve import HospitalAnswers
from medistill.evaluate.site_matrix import SourcePredictions
from medistill.networks.registry import network_spec
from medistill.progress import Silent
from medistill.recipe import load_recipe
from medistill.sharing.merge_source import MergeSource
from medistill.studies.exchange.networks import source_predictions
from medistill.studies.exchange.sites import plan_exchange
from medistill.studies.exchange.small_hospital import hospital_answers
from medistill.studies.exchange.sources import Sources
from medistill.training.context import Context
from tests.factories.flat_corpus import save_flat
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

EACH = {"train": 12, "val": 12, "test": 60}
"""Patients of each class in each split of the hospital at home; the other site has as many."""
Y, X = np.mgrid[:16, :16]
PATTERNS = np.stack([(-1.0) ** one for one in (X, Y, X + Y, X // 2, Y // 2, (X + Y) // 2)])
"""Of which every image has some, whatever its class."""


def drawn(rng: np.random.Generator, labels: np.ndarray, patterns: np.ndarray, spread: float) -> np.ndarray:
    """Grey values, uint8 (N, 1, 16, 16): class A is brighter by 20, beside patterns and a brightness of the patient."""
    grey = 120 + 20 * (labels == 0)[:, None, None] + np.tensordot(patterns, PATTERNS, 1)
    grey += spread * rng.normal(size=(len(labels), 1, 1)) + 10 * rng.normal(size=(len(labels), 16, 16))
    return grey.clip(0, 255).astype(np.uint8)[:, None]


def two_sites(folder: Path) -> Corpus:
    """Home and away, whose patients have patterns so strong that a few of them teach little."""
    rng, rows = np.random.default_rng(4), []
    for site in (0, 1):
        for split, each in EACH.items():
            rows += [(site, label, SPLITS.index(split)) for label in (0, 1) for _ in range(each)]
    sites, labels, splits = np.array(rows).T
    return save_flat(
        folder,
        images=drawn(rng, labels, 40 * rng.normal(size=(len(rows), 6)), 10),
        labels=labels,
        groups=range(len(rows)),
        sites=sites,
        splits=splits,
        views=["PA"] * len(rows),
        class_names=("A", "B"),
        site_names=("home", "away"),
    )


def sent_by(corpus: Corpus, *, harmful: bool) -> DistilledSet:
    """Twenty images of each class, in pairs of the same patterns, which teach to look at the brightness alone. A
    harmful sender names the classes the wrong way round."""
    rng, labels = np.random.default_rng(5), np.arange(40) % 2
    grey = drawn(rng, labels, np.repeat(40 * rng.normal(size=(20, 6)), 2, axis=0), 0)
    normalisation = Normalisation.of(grey)
    mean, std = (np.array(one, np.float32).reshape(-1, 1, 1) for one in (normalisation.mean, normalisation.std))
    return DistilledSet(
        images=(grey.astype(np.float32) / 255 - mean) / std,
        labels=1 - labels if harmful else labels,
        weights=np.ones(len(labels), np.float32),
        stage=np.zeros(len(labels), np.int64),
        student_lr=0.02,
        normalisation=normalisation,
        class_names=corpus.class_names,
    )


@dataclass(frozen=True)
class Planted:
    """A corpus, an encoder, and what can be asked of them."""

    corpus: Corpus
    encoder: Encoder
    folder: Path

    def context(self, *more: str) -> Context:
        settings = ['data.classes=["A", "B"]', "data.image_size=16", f"network.encoder={self.encoder.sha256}"]
        settings += ["exchange.patients=[8, 16]", "exchange.draws=3"]
        settings += ["exchange.weights=[0.3, 3.0]", "schedule.penalties=[0.1, 10.0]"]
        recipe = load_recipe("exchange-encoded", [*settings, "exchange.guard=home", *more])
        spec, out = network_spec(self.corpus, recipe, None), self.folder / "-".join(("networks", *more))
        return Context(self.corpus, recipe, spec, torch.device("cpu"), out, Silent())

    @property
    def tested(self) -> np.ndarray:
        return np.flatnonzero((self.corpus.sites == 0) & (self.corpus.splits == SPLITS.index("test")))

    def small(self, sent: DistilledSet, *more: str) -> HospitalAnswers:
        home = plan_exchange(self.corpus, images=2)[0]
        return hospital_answers(home, sent, self.tested, self.context(*more))

    def beside(self, sent: DistilledSet, *more: str) -> dict[str, SourcePredictions]:
        """Own originals alone, and beside the set of the one other site, at home."""
        sites, context = plan_exchange(self.corpus, images=2), self.context(*more)
        sets = {site.name: MergeSource(site.name, sent, site.folder.zfill(64)) for site in sites}
        sources = [one for one in Sources(sites, sets, {}, context).all() if one.site == "home"]
        wanted = [one for one in sources if one.source in ("own_raw", "own_and_others")]
        return {one.source: one for one in source_predictions(wanted, self.tested, context)}

    def areas(self, found: np.ndarray) -> np.ndarray:
        """Area under the curve of each draw."""
        return np.array([roc_auc_score(self.corpus.labels[self.tested] == 0, one[:, 0]) for one in found])


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Planted]:
    with tiny_architecture():
        yield Planted(two_sites(tmp_path / "corpus"), stored_tiny(tmp_path / "encoder"), tmp_path)


def test_a_harmful_sender_is_kept_out_and_does_harm_where_the_guard_is_not_obeyed(planted: Planted) -> None:
    sent = sent_by(planted.corpus, harmful=True)
    kept_out, let_in = planted.small(sent), planted.small(sent, "exchange.guard=off")
    np.testing.assert_array_equal(kept_out.together, kept_out.alone)
    np.testing.assert_array_equal(kept_out.alone, let_in.alone)
    assert not kept_out.weights.any()
    assert let_in.weights.all()
    for found in (kept_out, let_in):
        assert not found.guarded.any()
    assert planted.areas(let_in.together[0]).mean() < planted.areas(let_in.alone[0]).mean() - 0.03
    found = planted.beside(sent)
    np.testing.assert_array_equal(found["own_and_others"].test, found["own_raw"].test)
    assert (found["own_and_others"].weight, found["own_and_others"].images) == (0, found["own_raw"].images)


def test_a_helpful_sender_is_let_in_by_enough_patients_and_not_by_a_few(planted: Planted) -> None:
    """24 validation patients can tell; 8 cannot, which is what the guard costs."""
    sent = sent_by(planted.corpus, harmful=False)
    guarded, free = planted.beside(sent), planted.beside(sent, "exchange.guard=off")
    alone, little, much = (
        planted.areas(one.test)[0] for one in (guarded["own_raw"], guarded["own_and_others"], free["own_and_others"])
    )
    assert alone + 0.1 < little
    assert alone + 0.2 < much
    seen = guarded["own_and_others"].guard
    assert seen is not None
    assert free["own_and_others"].guard == seen
    assert seen.gain is not None
    assert seen.error is not None
    assert seen.gain > 2 * seen.error
    assert guarded["own_and_others"].weight == seen.taken > 0
    assert free["own_and_others"].weight == seen.best
    assert free["own_and_others"].images == guarded["own_and_others"].images == free["own_raw"].images + 40
    few = planted.small(sent, "exchange.guard=off")
    assert planted.areas(few.together[0]).mean() > planted.areas(few.alone[0]).mean() + 0.1
    assert (few.guarded[0] == 0).any()
