"""Probes in the studies: sites that exchange sets, sites left out, attacks on membership; images are encoded once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.encoders import features
from medistill.encoders.encoder import Encoder
from medistill.networks.registry import network_spec
from medistill.privacy.signals import Population
from medistill.progress import Silent
from medistill.recipe import Recipe, override_recipe
from medistill.studies.audit.context import AuditContext
from medistill.studies.audit.network_answers import network_answers
from medistill.studies.exchange.study import exchange_study
from medistill.studies.sites.leave_site_out import leave_site_out
from medistill.training.device import choose_device
from medistill.workflow.distill import distill
from medistill.workflow.near_duplicates import HeldOut
from medistill.workflow.prepare import prepare
from tests.factories.sited_corpus import write_sites
from tests.factories.tiny import TINY_QUANTISED
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

SMALL = (
    "method.name=ddoq", "method.ipc=1", "method.quantise.components=2", "method.quantise.min_cluster_size=1",
    "method.quantise.passes=2", "method.quantise.refine=5", "evaluate.smallest_cell=1", "audit.networks=3",
)  # fmt: skip


@pytest.fixture
def encoder(tmp_path: Path) -> Iterator[Encoder]:
    with tiny_architecture():
        yield stored_tiny(tmp_path / "encoder")


@pytest.fixture
def recipe(tiny_recipe: Recipe, encoder: Encoder) -> Recipe:
    plain = override_recipe(tiny_recipe, [SMALL[0]], "test")
    probe = ["network.name=probe", f"network.encoder={encoder.sha256}"]
    return override_recipe(plain, [*TINY_QUANTISED, *SMALL[1:], *probe], "test")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images were encoded, call by call."""
    counts: list[int] = []
    real = features._write

    def write(file, corpus, *others):  # type: ignore[no-untyped-def]
        counts.append(len(corpus.images))
        real(file, corpus, *others)

    monkeypatch.setattr(features, "_write", write)
    return counts


@pytest.fixture
def corpus(recipe: Recipe, tmp_path: Path) -> Corpus:
    write_sites(tmp_path)
    return prepare(tmp_path / "xray", recipe, labels=tmp_path / "labels.csv")


@pytest.fixture
def made(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> DistilledSet:
    return distill(corpus, None, recipe, out=tmp_path / "run")


def test_sites_exchange_sets_of_which_probes_learn(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, encoded: list[int]
) -> None:
    study = exchange_study(tmp_path / "xray", recipe, labels=tmp_path / "labels.csv", out=tmp_path / "study")
    assert study.network.startswith("linear probe on Tiny")
    assert encoded == [len(corpus.images)], "the shares of the sites are of the same images"


def test_every_site_is_left_out_without_encoding_anything_again(
    corpus: Corpus, made: DistilledSet, recipe: Recipe, tmp_path: Path, encoded: list[int]
) -> None:
    encoded.clear()
    found = leave_site_out(tmp_path / "run", data=tmp_path / "xray", labels=tmp_path / "labels.csv")
    assert any(site.evaluation is not None for site in found), [site.reason for site in found]
    assert all(site.evaluation.fitted for site in found if site.evaluation is not None)
    assert sum(encoded) in (0, len(corpus.images))


def everybody_of(corpus: Corpus) -> Population:
    return Population.of(corpus, corpus, HeldOut.of(corpus).rows)


def test_attacked_probes_are_asked_once_each(
    corpus: Corpus, made: DistilledSet, recipe: Recipe, tmp_path: Path
) -> None:
    spec, device = network_spec(corpus, recipe), choose_device("cpu")
    context = AuditContext(corpus, recipe, spec, device, tmp_path / "membership", Silent(), made, None, built_in=False)
    told, _ = network_answers(context, everybody_of(corpus))
    assert [one.confidence.shape[0] for one in told] == [1] * len(told), "three networks would be one and the same"
    assert all(np.isfinite(one.confidence).all() for one in told)


def test_what_was_said_of_other_people_is_not_taken_for_these(
    corpus: Corpus, made: DistilledSet, recipe: Recipe, tmp_path: Path
) -> None:
    spec, device = network_spec(corpus, recipe), choose_device("cpu")
    everybody = everybody_of(corpus)
    fewer = replace(everybody, others=everybody.others[1:])

    def told(people: Population, folder: str) -> list[np.ndarray]:
        context = AuditContext(corpus, recipe, spec, device, tmp_path / folder, Silent(), made, None, built_in=False)
        return [one.confidence for one in network_answers(context, people)[0]]

    told(everybody, "kept")
    for again, fresh in zip(told(fewer, "kept"), told(fewer, "fresh"), strict=True):
        np.testing.assert_array_equal(again, fresh)
