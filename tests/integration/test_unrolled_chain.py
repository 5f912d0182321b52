"""The unrolled loss through the whole chain: no experts, students by each optimiser, a rate that is learned."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import DataError, DivergedError, RecipeError
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.workflow.distill import distill
from medistill.workflow.run import run
from tests.factories.stopping import Stops

SMALL = ("method.student_steps=4", "method.window=2", "method.batch_real=6")
WAYS = {
    "momentum": ["method.inner=momentum", "method.labels=soft", "method.pool=0"],
    "adam": ["method.inner=adam", "method.student_lr=0.001", "method.labels=hard", "method.pool=0"],
    "pool": ["method.inner=momentum", "method.pool=2", "method.student_steps=6"],
}


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    return override_recipe(tiny_recipe, ["method.name=unrolled", *SMALL], "test")


def test_from_files_to_report(recipe: Recipe, phantom_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    recipe = override_recipe(recipe, ["method.labels=soft"], "test")
    report = run(recipe, out=out, data=phantom_folder, device="cpu")
    made = DistilledSet.load(out)
    assert made.provenance.method == "Unrolled"
    assert made.soft_labels is not None
    assert np.array_equal(made.soft_labels.argmax(axis=1), made.labels)
    assert "experts" not in json.loads((out / "run.json").read_text())["stages"]
    history = json.loads((out / "history.json").read_text())
    assert len(history["loss"]) == len(history["student_lr"]) == recipe.method.outer_steps
    assert made.student_lr == history["student_lr"][history["chosen_step"] - 1] != recipe.method.student_lr
    assert not {"skipped", "importance"} & set(history)
    assert report.course is not None
    assert report.course.student_lr == tuple(history["student_lr"])
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    page = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    for said in (
        "the unrolled loss on originals (after RaT-BPTT; Feng et al. 2024)",
        f"In each outer step (4 in all) a network, out of a pool of {recipe.method.pooled} whose turns came one after",
        "took 2 training steps by stochastic gradient descent with momentum on the distilled images",
        "no room within 4 steps, one with random parameters took its place",
        "loss was then taken on up to 6 originals of each class",
        "The loss was carried back through these 2 steps.",
    ):
        assert said in page
    for wrong in ("expert's parameters", "{student_steps}", "Importance of the network"):
        assert wrong not in page


@pytest.mark.parametrize("way", WAYS)
def test_interrupted_and_resumed_to_the_same_bits(
    way: str, recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = override_recipe(recipe, [*WAYS[way], "method.checkpoint_every=1"], "test")
    whole = distill(phantom_corpus, None, recipe, out=tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, None, recipe, out=tmp_path / "killed", device="cpu", progress=Stops(3))
    resumed = distill(phantom_corpus, None, recipe, out=tmp_path / "killed", device="cpu", resume=True)
    assert resumed.images.tobytes() == whole.images.tobytes()
    assert resumed.student_lr.hex() == whole.student_lr.hex()
    for name in ("set/images.safetensors", "history.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_students_that_diverge_end_the_run_with_the_setting_to_lower(
    recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    """It asks at the end of a run as short as this one, before the validation split is looked at for the first time."""
    settings = ["method.inner=sgd", "method.student_lr=1e30", "method.validate_every=4"]
    recipe = override_recipe(recipe, settings, "test")
    with pytest.raises(DivergedError, match=r"4 of the steps so far .*lower method\.student_lr by"):
        distill(phantom_corpus, None, recipe, out=tmp_path, device="cpu")


@pytest.mark.parametrize("start", ["real", "noise"])
def test_a_class_without_training_images_is_refused_before_the_first_step(
    start: str, recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    splits = phantom_corpus.splits.copy()
    splits[(phantom_corpus.labels == 1) & (splits == 0)] = 1
    lacking, name = replace(phantom_corpus, splits=splits), phantom_corpus.class_names[1]
    recipe = override_recipe(recipe, [f"method.init={start}"], "test")
    with pytest.raises(DataError, match=f"class {name} has 0 training images.*leave it out with --classes"):
        distill(lacking, None, recipe, out=tmp_path, device="cpu")
    assert not (tmp_path / "state" / "checkpoint.safetensors").exists()


def test_a_window_longer_than_the_walk_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match=r"method\.window 5 is longer than the walk, method\.student_steps 4"):
        load_recipe("demo", ["method.name=unrolled", "method.student_steps=4", "method.window=5"])
    whole = ["method.name=unrolled", "method.student_steps=4", "method.window=4"]
    with pytest.raises(
        RecipeError, match=r"method\.pool 8 keeps students for another window of 4 steps, but a walk of 4"
    ):
        load_recipe("demo", whole)
    assert load_recipe("demo", [*whole, "method.pool=0"]).method.window == 4


def test_differential_privacy_is_refused_with_the_setting_to_change() -> None:
    with pytest.raises(RecipeError, match=r"method unrolled sees patients' images without noise \(set method\.name to"):
        load_recipe("covid-xray-dp", ["method.name=unrolled"])
