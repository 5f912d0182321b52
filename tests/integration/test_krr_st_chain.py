"""KRR-ST through the whole chain: target vectors of a tiny teacher, a pool that is resumed, and a set that says so."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.artifacts.classifier import Classifier
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.encoders.encoder import Encoder
from medistill.encoders.store import remove_encoder
from medistill.errors import RecipeError, UsageError
from medistill.methods.optimising.start import starting_images
from medistill.networks.registry import network_spec
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import Bundle, pack
from medistill.sharing.statement import Statement
from medistill.training.context import Context
from medistill.workflow.distill import distill
from medistill.workflow.run import run
from medistill.workflow.train_classifier import train_classifier
from medistill.workflow.verify import verify
from tests.factories.stopping import Stops
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

CPU = torch.device("cpu")
SMALL = (
    "method.batch_real=6", "method.image_lr=0.05", "method.label_lr=0.05", "method.pool_networks=2",
    "method.pool_age=3", "evaluate.lr=0.05",
)  # fmt: skip


@pytest.fixture
def teacher(tmp_path: Path, private_cache: Path) -> Iterator[Encoder]:
    with tiny_architecture():
        yield stored_tiny(tmp_path / "tiny")


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    return override_recipe(tiny_recipe, ["method.name=krr-st", *SMALL], "test")


def test_from_files_to_report(recipe: Recipe, teacher: Encoder, phantom_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    report = run(recipe, out=out, data=phantom_folder, device="cpu")
    made = DistilledSet.load(out)
    assert made.provenance.method == "KRR-ST"
    assert made.by_targets
    assert not made.by_values
    assert made.soft_labels is not None
    assert made.soft_labels.shape == (len(made.labels), teacher.dimension)
    assert made.student_lr == 0.1
    assert made.provenance.teacher is not None
    assert made.provenance.teacher.sha256 == teacher.sha256
    assert made.provenance.encoder is None
    assert json.loads((out / "set" / "manifest.json").read_text())["schema"] == 4
    history = json.loads((out / "history.json").read_text())
    assert len(history["loss"]) == recipe.method.outer_steps
    arms = {arm.arm: arm.images for arm in report.evaluation.arms}
    assert arms["hard"] == arms["distilled"] == len(made.labels)
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    page = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    for said in (
        "kernel ridge regression on self-supervised targets (KRR-ST; Lee et al. 2024)",
        "their labels are target vectors, learned with the images.",
        f"Its SHA-256: {teacher.sha256}",
        "Networks were pretrained on images and target vectors by the mean squared error, without augmentation",
        "under an L2 penalty of 0.1",
        "The set carries a target vector for each image",
        "In each outer step (4 in all) a network out of a pool of 2",
    ):
        assert said in page
    for wrong in ("labels are one class each", "{pool_networks}", "half the squared error", "expert's parameters"):
        assert wrong not in page


def test_interrupted_and_resumed_to_the_same_bits(
    recipe: Recipe, teacher: Encoder, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = override_recipe(recipe, ["method.checkpoint_every=1", "method.iterations=6"], "test")
    whole = distill(phantom_corpus, None, recipe, out=tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, None, recipe, out=tmp_path / "killed", device="cpu", progress=Stops(3))
    resumed = distill(phantom_corpus, None, recipe, out=tmp_path / "killed", device="cpu", resume=True)
    assert resumed.images.tobytes() == whole.images.tobytes()
    assert whole.soft_labels is not None
    assert resumed.soft_labels is not None
    assert resumed.soft_labels.tobytes() == whole.soft_labels.tobytes()
    for name in ("set/images.safetensors", "history.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_vectors_at_rate_nothing_are_what_the_teacher_sees_in_the_first_images(
    recipe: Recipe, teacher: Encoder, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    """And a recipient without that teacher trains an ordinary network on the set, which tells classes."""
    recipe = override_recipe(recipe, ["method.label_lr=0", "method.iterations=2", "schedule.choose=fixed"], "test")
    made = distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu")
    assert made.provenance.recipe is not None
    assert made.provenance.recipe["method"]["teacher"] == teacher.sha256, "the only one of the cache"
    context = Context(phantom_corpus, recipe, network_spec(phantom_corpus, recipe), CPU, tmp_path, Silent())
    first = starting_images(context, range(len(made.class_names)), made.normalisation)[0]
    wanted = teacher.encoded(torch.from_numpy(made.normalisation.grey(first.numpy())).float())
    assert made.soft_labels is not None
    np.testing.assert_allclose(made.soft_labels, wanted.numpy(), rtol=1e-5, atol=1e-5)
    remove_encoder(teacher.sha256)
    trained = train_classifier(made, recipe, out=tmp_path / "model", device="cpu")
    again = Classifier.load(tmp_path / "model")
    assert len(again.weights) == len(trained.weights)
    assert again.weights["classifier.bias"].shape == (len(made.class_names),)


def test_a_bundle_is_verified_and_trained_on(
    recipe: Recipe, teacher: Encoder, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    made = distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu")
    statement = Statement(licence="CC0-1.0", intended_use="Tests.", acknowledged_risk="A test.")
    write_archive(tmp_path / "bundle.zip", pack(made, statement))
    checked = {one.name: one for one in verify(tmp_path / "bundle.zip", today=date(2026, 11, 30)).checks}
    assert checked["Teacher"].state == "declared"
    assert "nobody needs it to use the set" in checked["Teacher"].told
    received = Bundle.open(tmp_path / "bundle.zip").distilled
    assert received.training_bytes() == made.training_bytes()


def test_what_cannot_be_is_refused(recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no encoder is in the cache"):
        distill(phantom_corpus, None, recipe, out=tmp_path, device="cpu")
    with pytest.raises(RecipeError, match=r"method krr-st sees patients' images without noise"):
        load_recipe("covid-xray-dp", ["method.name=krr-st"])
    with pytest.raises(RecipeError, match=r"compares the features of networks that begin with random numbers"):
        load_recipe("covid-xray-krr-st", ["network.name=probe"])
    with pytest.raises(RecipeError, match=r"a target vector belongs to a whole image"):
        load_recipe("covid-xray-krr-st", ["method.tiles=2"])


def test_the_recipe_differs_from_its_neighbour_by_method_and_size_alone() -> None:
    mine = load_recipe("covid-xray-krr-st")
    theirs = load_recipe("covid-xray-cpu", ["method.name=krr-st", "data.image_size=64"])
    for section in ("data", "network", "augmentation", "evaluate", "audit", "compute", "privacy"):
        assert getattr(mine, section) == getattr(theirs, section), section
    assert (mine.method.name, mine.method.ipc, mine.method.starts_from) == ("krr-st", theirs.method.ipc, "quantised")
