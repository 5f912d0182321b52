"""Gradient matching through the whole chain: steps, networks that train between, resuming, probes, and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import RecipeError
from medistill.methods.registry import facts_of
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.workflow.distill import distill
from tests.factories.drawn_corpus import drawn_corpus
from tests.factories.stopping import Stops
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

STEPS = ("method.batch_real=3", "method.checkpoint_every=1", "data.image_size=16", "network.depth=2", "method.ipc=1")
LOOPS = ("method.loops=3", "method.network_batch=2")
METHODS = {
    "dc": ["method.name=dc", *LOOPS, "method.network_epochs=2", *STEPS],
    "dsa": ["method.name=dsa", *LOOPS, "method.network_epochs=2", *STEPS],
    "dcc": ["method.name=dcc", *LOOPS, "method.network_epochs=2", *STEPS],
    "doscond": ["method.name=doscond", *STEPS],
    "idc": ["method.name=idc", *LOOPS, "method.network_images=5", *STEPS],
}


@pytest.fixture
def corpus(tmp_path: Path, private_cache: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus")


def recipe_of(tiny_recipe: Recipe, method: str, *more: str) -> Recipe:
    return override_recipe(tiny_recipe, [*METHODS[method], *more], "test")


@pytest.mark.parametrize("network", ["convnet", "probe"])
@pytest.mark.parametrize("method", METHODS)
def test_images_move_and_the_set_says_how(method, network, tiny_recipe, corpus, tmp_path):
    with tiny_architecture():
        probe = ["network.name=probe", f"network.encoder={stored_tiny(tmp_path / 'tiny').sha256}"]
        recipe = recipe_of(tiny_recipe, method, *(probe if network == "probe" else []))
        made = distill(corpus, None, recipe, out=tmp_path / "run", device="cpu")
        still = override_recipe(recipe, ["method.image_lr=1e-12"], "test")
        start = distill(corpus, None, still, out=tmp_path / "still", device="cpu")
    known = DistilledSet.load(tmp_path / "run").provenance
    assert (known.method, known.network) == (facts_of(method).display_name, network)
    assert made.student_lr == recipe.evaluate.lr
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert len(history["loss"]) == recipe.method.outer_steps
    assert "skipped" not in history
    moved = np.abs(made.images - start.images).reshape(len(made.images), -1).max(axis=1)
    assert (moved > 0).all()
    if method == "idc":
        grey = made.images * made.normalisation.std[0] + made.normalisation.mean[0]
        assert -1e-6 <= grey.min() < grey.max() <= 1 + 1e-6


@pytest.mark.parametrize("method", ["dsa", "idc"])
@pytest.mark.parametrize("dies_after", [2, 3])
def test_interrupted_and_resumed_to_the_same_bits(method, dies_after, tiny_recipe, corpus, tmp_path):
    recipe = recipe_of(tiny_recipe, method)
    whole = distill(corpus, None, recipe, out=tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        distill(corpus, None, recipe, out=tmp_path / "killed", device="cpu", progress=Stops(dies_after))
    resumed = distill(corpus, None, recipe, out=tmp_path / "killed", device="cpu", resume=True)
    assert resumed.images.tobytes() == whole.images.tobytes()
    for name in ("set/images.safetensors", "history.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_doscond_is_dc_with_loops_of_one_step(tiny_recipe, corpus, tmp_path):
    once = recipe_of(tiny_recipe, "dc", "method.loops=1", "method.network_epochs=0")
    one = distill(corpus, None, once, out=tmp_path / "dc", device="cpu")
    other = distill(corpus, None, recipe_of(tiny_recipe, "doscond"), out=tmp_path / "doscond", device="cpu")
    longer = distill(corpus, None, recipe_of(tiny_recipe, "dc"), out=tmp_path / "longer", device="cpu")
    assert one.images.tobytes() == other.images.tobytes()
    assert one.images.tobytes() != longer.images.tobytes()


def test_whitened_pixels_are_no_grey_values(tiny_recipe):
    for more in ([], ["method.tiles=1"]):
        with pytest.raises(RecipeError, match=r"method\.name = idc holds each pixel's grey value .* set data\.zca to"):
            recipe_of(tiny_recipe, "idc", "data.zca=true", *more)


@pytest.mark.parametrize("method", METHODS)
def test_differential_privacy_is_refused_with_the_setting_to_change(method):
    with pytest.raises(RecipeError, match=rf"method {method} sees patients' images without noise \(set method\.name"):
        load_recipe("covid-xray-dp", [f"method.name={method}"])


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_differs_from_its_neighbour_by_the_method_alone(method):
    mine, theirs = load_recipe(f"covid-xray-{method}"), load_recipe("covid-xray-cpu", [f"method.name={method}"])
    for section in ("data", "network", "augmentation", "evaluate", "audit", "compute", "privacy"):
        assert getattr(mine, section) == getattr(theirs, section), section
    assert (mine.method.name, mine.method.ipc, mine.method.starts_from) == (method, theirs.method.ipc, "quantised")


@pytest.mark.parametrize(("ipc", "loops", "epochs"), [(1, 1, 1), (10, 10, 50), (50, 50, 10)])
@pytest.mark.parametrize("method", ["dc", "dsa", "dcc"])
def test_published_loops(method, ipc, loops, epochs):
    recipe = load_recipe(f"cifar10-{method}-ipc{ipc}")
    published = {"loops": loops, "network_epochs": epochs, "iterations": 1000 * loops, "batch_real": 256}
    assert {name: getattr(recipe.method, name) for name in published} == published
    assert recipe.evaluate.epochs == (1000 if method == "dsa" else 300)
    assert bool(recipe.augmentation.operations) == (method == "dsa")


@pytest.mark.parametrize(("ipc", "lr"), [(1, 0.0005), (10, 0.005), (50, 0.025)])
def test_the_rate_of_idc_goes_with_the_images(ipc, lr):
    assert load_recipe(f"cifar10-idc-ipc{ipc}").method.image_lr == pytest.approx(lr)
