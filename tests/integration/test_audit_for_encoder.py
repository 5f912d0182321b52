"""The audit of a set for an encoder: what its features give away is found there, whatever the pixels look like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.encoders.encoder import Encoder
from medistill.encoders.features import features_of
from medistill.errors import DivergedError
from medistill.privacy.audit import Audit, load_audit
from medistill.progress import Silent
from medistill.recipe import Recipe, override_recipe
from medistill.studies.audit.audit import audit
from medistill.studies.audit.signals import AuditSignals
from medistill.training.encoded import seen_by
from medistill.training.images import LabelledImages
from tests.factories import audited
from tests.factories.attacked import audit_context
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

CPU = torch.device("cpu")
SPACE, PLAIN, WHITE = "encoder features", "distance in features", "whitened distance in features"
PARTLY = f"partly {WHITE}"


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    with tiny_architecture():
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return audited.corpus(tmp_path_factory.mktemp("corpora"))


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return stored_tiny(tmp_path / "encoder")


def recipe_for(encoder: Encoder, *changes: str) -> Recipe:
    few = ("audit.shadows=0", "audit.networks=1", "evaluate.epochs=1", "evaluate.raw_epochs=1")
    return override_recipe(
        audited.RECIPE, ["network.name=probe", f"network.encoder={encoder.sha256}", *few, *changes], origin="a test"
    )


def seen_as(targets: np.ndarray, encoder: Encoder) -> np.ndarray:
    """Grey values (Q, 1, H, W) of noise whose features are the targets (Q, D): to the eye they are like nothing."""
    noise = np.random.default_rng(3).normal(size=(len(targets), 1, audited.SIZE, audited.SIZE))
    images = torch.from_numpy(0.5 + gaussian_filter(noise, (0, 0, 0.6, 0.6)) * 0.4).float()
    wanted = torch.from_numpy(targets).float()
    moved = images.flatten().numpy().astype(np.float64)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        shown = torch.from_numpy(flat.reshape(images.shape)).float()
        off = encoder.encoded(shown) - wanted
        return float(off.square().sum()), encoder.pullback(shown, 2 * off).flatten().double().numpy()

    found = minimize(loss, moved, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "maxfun": 4000, "ftol": 0})
    return found.x.reshape(images.shape)


def made(grey: np.ndarray, corpus: Corpus, recipe: Recipe) -> DistilledSet:
    normalised = audited.normalisation(corpus).apply((255 * grey).astype(np.float32))
    return audited.distilled(normalised, corpus, starts_from="noise", recipe=recipe)


def in_space(found: Audit, subject: str, space: str) -> tuple[int, int]:
    one = next(one for one in found.copies if (one.subject, one.space) == (subject, space))
    return one.copies, one.images


def attacks(found: Audit) -> dict[tuple[str, str], float | None]:
    assert found.membership is not None
    return {(one.name, one.source): one.cells[0].auc.value for one in found.membership.attacks if one.cells}


def verdicts(found: Audit) -> dict[str, str]:
    return {one.name: one.verdict for one in found.criteria}


def test_images_that_the_encoder_takes_for_training_images_are_copies(
    corpus: Corpus, encoder: Encoder, tmp_path: Path
) -> None:
    recipe = recipe_for(encoder)
    features = np.asarray(features_of(corpus, encoder, CPU, Silent()), np.float32)
    planted = made(seen_as(features[audited.starting_rows(corpus)], encoder), corpus, recipe)
    assert np.abs(planted.normalisation.grey(planted.images)).max() < 3
    found = audit(planted, corpus, recipe, out=tmp_path, device="cpu")
    assert in_space(found, "distilled", "pixels")[0] == in_space(found, "distilled", "structure")[0] == 0
    assert in_space(found, "distilled", SPACE) == (10, 10)
    assert in_space(found, "random", SPACE) == (10, 10)
    copies, images = in_space(found, "held out", SPACE)
    assert copies <= 0.02 * images
    assert verdicts(found)["Copies in the encoder’s features"] == "fail"
    assert found.verdict == "fail"
    again = load_audit(tmp_path / "audit.json")
    spaces = {rule.space for rule in again.rules}
    assert {"pixels", "structure", SPACE} <= spaces
    assert "features" not in spaces


def test_means_of_few_are_found_by_distance_in_features_and_what_copies_nobody_passes(
    corpus: Corpus, encoder: Encoder, tmp_path: Path
) -> None:
    recipe, rows = recipe_for(encoder), corpus.rows("train")
    used = np.concatenate([rows[corpus.labels[rows] == c][: 3 * audited.IPC] for c in range(2)])
    few = replace(
        corpus, splits=np.where(np.isin(np.arange(len(corpus.splits)), used) | (corpus.splits > 0), corpus.splits, 9)
    )
    features = np.asarray(features_of(corpus, encoder, CPU, Silent()), np.float32)
    means = np.stack([features[cell].mean(axis=0) for cell in np.split(used, 2 * audited.IPC)])
    leaking = audit(made(seen_as(means, encoder), few, recipe), few, recipe, out=tmp_path / "leaking", device="cpu")
    clean = audit(audited.from_noise(corpus), corpus, recipe, out=tmp_path / "clean", device="cpu")
    assert verdicts(leaking)[f"AUC ({WHITE} attack)"] == "fail"
    assert {verdicts(clean)[f"AUC ({name} attack)"] for name in (PLAIN, WHITE, PARTLY)} == {"pass"}
    assert verdicts(clean)["Copies in the encoder’s features"] == "pass"
    for found in (leaking, clean):
        assert {attacks(found)[name, "random"] for name in (PLAIN, WHITE, PARTLY)} == {1}
        assert in_space(found, "distilled", "pixels")[0] == 0
    assert not {name for name, _ in attacks(clean)} & {"distance"}


def test_a_network_has_its_own_features_and_no_attack_in_an_encoders(corpus: Corpus, tmp_path: Path) -> None:
    found = audit(audited.from_noise(corpus), corpus, audited.RECIPE, out=tmp_path, device="cpu", quick=True)
    spaces = {rule.space for rule in found.rules}
    assert {"pixels", "structure", "features"} <= spaces
    assert SPACE not in spaces


def test_other_images_of_the_same_patient_are_no_reference(tmp_path: Path, encoder: Encoder) -> None:
    """Every held-out patient has a twin in the training split under the same number: the reference leaves it out.
    Under other numbers all are left out, and nobody is there to compare with."""
    corpus = audited.corpus(tmp_path / "corpora")
    images, groups = np.array(corpus.images), corpus.groups.copy()
    held_out = np.flatnonzero(corpus.splits > 0)
    twins = corpus.rows("train")[: len(held_out)]
    images[held_out] = images[twins]
    groups[held_out] = groups[twins]
    recipe = recipe_for(encoder)
    same, strangers = (
        audit(audited.from_noise(corpus), one, recipe, out=tmp_path / name, device="cpu", quick=True)
        for name, one in (
            ("same", replace(corpus, images=images, groups=groups)),
            ("strangers", replace(corpus, images=images)),
        )
    )
    assert same.rules[-1].ratio > 0.25
    assert (same.held_out_left_out, strangers.held_out_left_out) == (0, len(held_out))
    assert (strangers.held_out_images, strangers.verdict) == (0, "not enough evidence")


def test_what_is_attacked_is_what_a_recipients_probe_learns_from(corpus: Corpus, encoder: Encoder) -> None:
    distilled = audited.from_noise(corpus)
    signals = AuditSignals(audit_context(distilled, corpus, recipe_for(encoder)))
    space, learnt = signals.encoder_space, seen_by(encoder, LabelledImages.of_set(distilled, CPU), CPU).pixels
    assert torch.equal(space.subjects[0], learnt.half().float())
    random = signals.search.subjects[1]
    grey = torch.from_numpy(corpus.images[random.rows]).float() / 255
    torch.testing.assert_close(space.subjects[1], encoder.encoded(grey), rtol=1e-3, atol=1e-3)


def test_features_that_are_not_finite_are_refused(corpus: Corpus, encoder: Encoder, tmp_path: Path) -> None:
    """The encoder's scale leaves room in float16 for what it sees in the corpus, and for nothing beyond."""
    largest = np.abs(np.asarray(features_of(corpus, encoder, CPU, Silent()), np.float32)).max(axis=0)
    narrow = stored_tiny(tmp_path / "narrow", scale=0.1 * largest / 6e4)
    extreme = replace(audited.from_noise(corpus), images=1e3 * audited.from_noise(corpus).images)
    with pytest.raises(DivergedError, match="features of the set's images that are not finite"):
        audit(extreme, corpus, recipe_for(narrow), out=tmp_path, device="cpu", quick=True)
