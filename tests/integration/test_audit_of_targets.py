"""The audit of a set with target vectors: what they give away is found in them, whatever the images look like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.encoders.encoder import Encoder
from medistill.encoders.features import features_of
from medistill.encoders.store import remove_encoder
from medistill.errors import UsageError
from medistill.privacy.attacks.distance_in_targets import DistanceInTargets, WhitenedDistanceInTargets
from medistill.privacy.audit import Audit
from medistill.progress import Silent
from medistill.recipe import Recipe, override_recipe
from medistill.studies.audit.audit import audit
from medistill.studies.audit.signals import AuditSignals
from medistill.workflow.provenance import encoder_summary
from tests.factories import audited
from tests.factories.attacked import audit_context
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

CPU, SPACE = torch.device("cpu"), "target vectors"
COUNT = audited.IPC * len(audited.NAMES)


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    with tiny_architecture():
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return audited.corpus(tmp_path_factory.mktemp("corpora"))


@pytest.fixture
def teacher(tmp_path: Path) -> Encoder:
    return stored_tiny(tmp_path / "encoder")


def recipe_of(teacher: Encoder) -> Recipe:
    few = ("audit.shadows=0", "audit.networks=1", "evaluate.epochs=1", "evaluate.raw_epochs=1")
    return override_recipe(audited.RECIPE, ["method.name=krr-st", f"method.teacher={teacher.sha256}", *few], "a test")


def with_targets(corpus: Corpus, teacher: Encoder, targets: np.ndarray) -> DistilledSet:
    """Images that know nothing of the corpus, with these vectors."""
    known = {**audited.from_noise(corpus).provenance.as_json(), "recipe": recipe_of(teacher).model_dump(mode="json")}
    return replace(
        audited.from_noise(corpus),
        soft_labels=targets.astype(np.float32),
        label_kind="targets",
        provenance={**known, "teacher": encoder_summary(teacher).as_json()},
    )


def features(corpus: Corpus, teacher: Encoder) -> np.ndarray:
    return np.asarray(features_of(corpus, teacher, CPU, Silent()), np.float32)


def copies(found: Audit, subject: str) -> tuple[int, int]:
    one = next(one for one in found.copies if (one.subject, one.space) == (subject, SPACE))
    return one.copies, one.images


def test_vectors_that_are_a_patients_features_are_copies_and_others_are_not(
    corpus: Corpus, teacher: Encoder, tmp_path: Path
) -> None:
    seen, recipe = features(corpus, teacher), recipe_of(teacher)
    planted = with_targets(corpus, teacher, seen[audited.starting_rows(corpus)] + 0.01)
    found = audit(planted, corpus, recipe, out=tmp_path / "planted", device="cpu", quick=True)
    assert copies(found, "distilled") == copies(found, "random") == (COUNT, COUNT)
    held_out, images = copies(found, "held out")
    assert held_out <= 0.02 * images
    verdicts = {one.name: one.verdict for one in found.criteria}
    assert verdicts["Copies in target vectors"] == "fail"
    assert verdicts["Copies in pixels"] == "pass"
    drawn = np.random.default_rng(0).normal(seen.mean(axis=0), seen.std(axis=0), (COUNT, seen.shape[1]))
    clean = audit(
        with_targets(corpus, teacher, drawn), corpus, recipe, out=tmp_path / "clean", device="cpu", quick=True
    )
    assert copies(clean, "distilled") == (0, COUNT)
    remove_encoder(teacher.sha256)
    with pytest.raises(UsageError, match=r"the teacher of this set is not on this machine: tiny, SHA-256"):
        audit(planted, corpus, recipe, out=tmp_path / "gone", device="cpu", quick=True)


def test_means_of_few_are_found_by_their_distance(corpus: Corpus, teacher: Encoder) -> None:
    rows = corpus.rows("train")
    used = np.concatenate([rows[corpus.labels[rows] == c][: 3 * audited.IPC] for c in range(2)])
    inside = np.isin(np.arange(len(corpus.splits)), used) | (corpus.splits > 0)
    few = replace(corpus, splits=np.where(inside, corpus.splits, 9))
    means = np.stack([features(corpus, teacher)[cell].mean(axis=0) for cell in np.split(used, COUNT)])
    made = with_targets(corpus, teacher, means)
    signals = AuditSignals(audit_context(made, few, recipe_of(teacher)))
    assert signals.facts.by_targets
    told = {}
    for attack in (DistanceInTargets(), WhitenedDistanceInTargets()):
        assert attack.applies(signals.facts)
        found = {one.source: one.cells[0].auc.value for one in attack.run(signals).membership}
        assert found["random"] == 1
        told[attack.name] = found["distilled"]
    assert told["whitened distance in target vectors"] is not None
    assert told["whitened distance in target vectors"] > 0.75


def test_vectors_of_another_width_than_the_teachers_are_named(corpus: Corpus, teacher: Encoder) -> None:
    made = with_targets(corpus, teacher, np.zeros((COUNT, 3)))
    with pytest.raises(UsageError, match=r"target vectors of 3 numbers, of a teacher with 22 features"):
        _ = AuditSignals(audit_context(made, corpus, recipe_of(teacher))).target_space
