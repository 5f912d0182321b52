"""Kernel ridge regression through the whole chain: label values, a pool that is resumed, and a set that says so."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import RecipeError, UsageError
from medistill.evaluate.arms import Arms
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.training.device import choose_device
from medistill.workflow.distill import distill
from medistill.workflow.run import run
from tests.factories.stopping import Stops

SMALL = (
    "method.batch_real=6", "method.image_lr=0.01", "method.label_lr=0.01", "method.pool_networks=2",
    "method.pool_age=2",
)  # fmt: skip


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    return override_recipe(tiny_recipe, ["method.name=frepo", *SMALL], "test")


def test_from_files_to_report(recipe: Recipe, phantom_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    report = run(recipe, out=out, data=phantom_folder, device="cpu")
    made = DistilledSet.load(out)
    assert made.provenance.method == "FRePo"
    assert made.student_lr == recipe.evaluate.lr
    assert made.by_values
    assert made.soft_labels is not None
    assert made.soft_labels.min() < 0, "no probabilities"
    assert json.loads((out / "set" / "manifest.json").read_text())["schema"] == 3
    history = json.loads((out / "history.json").read_text())
    assert len(history["loss"]) == recipe.method.outer_steps
    arms = {arm.arm: arm.images for arm in report.evaluation.arms}
    assert arms["hard"] == arms["distilled"] == len(made.labels)
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    page = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    for said in (
        "neural feature regression with pooling (FRePo; Zhou et al. 2022)",
        "their labels are values, learned with the images. Networks were trained on them to answer these values, by "
        "half the squared error",
        "no estimate of certainty.",
        "In each outer step (4 in all) a network out of a pool of 2",
        "up to 6 originals of each class",
    ):
        assert said in page
    for wrong in ("labels are one class each", "{pool_networks}", "expert's parameters"):
        assert wrong not in page


@pytest.mark.parametrize("mirrored", ["false", "true"])
def test_interrupted_and_resumed_to_the_same_bits(
    mirrored: str, recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    more = [f"method.mirrored={mirrored}", "method.checkpoint_every=1", "method.iterations=6"]
    recipe = override_recipe(recipe, more, "test")
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


def test_labels_at_rate_nothing_stay_where_they_began(recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path) -> None:
    recipe = override_recipe(recipe, ["method.label_lr=0"], "test")
    made = distill(phantom_corpus, None, recipe, out=tmp_path, device="cpu")
    classes = len(made.class_names)
    wanted = (np.eye(classes)[made.labels] - 1 / classes) / np.sqrt(classes / 10)
    assert made.soft_labels is not None
    np.testing.assert_allclose(made.soft_labels, wanted, rtol=1e-6)
    encoder: Any = object()
    with pytest.raises(UsageError, match=r"a probe for images whose labels are values"):
        Arms(made, phantom_corpus, recipe, choose_device("cpu"), encoder=encoder)


def test_differential_privacy_and_probes_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"method frepo sees patients' images without noise"):
        load_recipe("covid-xray-dp", ["method.name=frepo"])
    with pytest.raises(RecipeError, match=r"compares the features of networks that begin with random numbers"):
        load_recipe("covid-xray-frepo", ["network.name=probe"])


def test_the_recipe_differs_from_its_neighbour_by_the_method_alone() -> None:
    mine, theirs = load_recipe("covid-xray-frepo"), load_recipe("covid-xray-cpu", ["method.name=frepo"])
    for section in ("data", "network", "augmentation", "evaluate", "audit", "compute", "privacy"):
        assert getattr(mine, section) == getattr(theirs, section), section
    assert (mine.method.name, mine.method.ipc, mine.method.starts_from) == ("frepo", theirs.method.ipc, "quantised")
