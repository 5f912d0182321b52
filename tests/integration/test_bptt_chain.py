"""The named members of the unrolled family through the whole chain, nested sets, and where they are refused."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import RecipeError
from medistill.methods.registry import recipe_facts
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.workflow.distill import distill
from medistill.workflow.retrace import making_flaw
from medistill.workflow.run import run
from tests.factories.on_cpu import on_cpu
from tests.factories.stopping import Stops

SHORT = ("method.student_steps=5", "method.batch_real=4", "method.init=noise")
METHODS = {
    "bptt": [],
    "rat-bptt": ["method.window=2"],
    "at-bptt": ["method.window=2", "method.window_spread=1", "method.steep_until=0.3", "method.uniform_until=0.6"],
}
SAID = {
    "bptt": "after all of them, and carried back through each",
    "rat-bptt": "carried back through the 2 steps before it",
    "at-bptt": "a window of 2 steps, give or take 1",
}
CITED = {"bptt": "arXiv:1811.10959", "rat-bptt": "arXiv:2311.07025", "at-bptt": "arXiv:2510.04838"}


def of_method(recipe: Recipe, method: str, *more: str) -> Recipe:
    return override_recipe(recipe, [f"method.name={method}", *SHORT, *METHODS[method], *more], "test")


@pytest.mark.usefixtures("phantom_corpus")  # whose files are read then
@pytest.mark.parametrize("method", METHODS)
def test_from_files_to_report(method: str, tiny_recipe: Recipe, phantom_folder: Path, tmp_path: Path) -> None:
    recipe = of_method(tiny_recipe, method)
    run(recipe, out=tmp_path, data=phantom_folder, device="cpu")
    made, facts = DistilledSet.load(tmp_path), recipe_facts(recipe)
    assert made.provenance.method == facts.display_name
    assert made.provenance.method.lower() == method
    history = json.loads((tmp_path / "history.json").read_text())
    assert len(history["loss"]) == len(history["student_lr"]) == recipe.method.outer_steps
    assert np.isfinite(history["loss"]).all()
    by_adam = method != "bptt"
    assert facts.learned_lr != by_adam
    assert (made.student_lr == recipe.evaluate.lr) == by_adam
    page = html.unescape((tmp_path / "report.html").read_text(encoding="utf-8"))
    page = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    for said in (facts.phrase, SAID[method], CITED[method], "4 in all", "up to 5 training steps"):
        assert said in page
    assert ("learned with them" in page) != by_adam


@pytest.mark.parametrize(("method", "dies_after"), [("bptt", 2), ("rat-bptt", 2), ("at-bptt", 1), ("at-bptt", 3)])
def test_interrupted_and_resumed_to_the_same_bits(
    method: str, dies_after: int, tiny_recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = of_method(tiny_recipe, method, "method.labels=soft", "method.stages=2", "method.former_lr=0.1")
    whole = distill(phantom_corpus, None, recipe, out=tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, None, recipe, out=tmp_path / "killed", device="cpu", progress=Stops(dies_after))
    resumed = distill(phantom_corpus, None, recipe, out=tmp_path / "killed", device="cpu", resume=True)
    assert resumed.images.tobytes() == whole.images.tobytes()
    for name in ("set/images.safetensors", "history.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_first_images_of_a_nested_set_are_those_that_the_first_stage_made(
    tiny_recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = of_method(tiny_recipe, "rat-bptt", "method.stages=2", "method.validate_every=100")
    kept = override_recipe(recipe, ["method.keep_looks=true"], "test")
    made = distill(phantom_corpus, None, kept, out=tmp_path, device="cpu")
    first = load_file(tmp_path / "looks" / "000002.safetensors")["images"]
    assert made.provenance.stages == 2
    assert not made.stage.any(), "networks train on all of them at once"
    np.testing.assert_array_equal(made.first(1).images, first)
    assert json.loads((tmp_path / "history.json").read_text())["stage"] == [0, 1]


def test_noise_of_norm_1_is_what_it_begins_as_and_is_made_again(
    tiny_recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = of_method(tiny_recipe, "rat-bptt", "method.image_lr=1e-12")
    made = distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu")
    np.testing.assert_allclose(np.linalg.norm(made.images.reshape(len(made.images), -1), axis=1), 1, rtol=1e-5)
    assert making_flaw(made, on_cpu(phantom_corpus, recipe, tmp_path / "audit"), tmp_path / "run")[0] == ""


@pytest.mark.parametrize("method", [*METHODS, "unrolled"])
def test_differential_privacy_is_refused_with_what_to_choose(method: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe("covid-xray-dp", [f"method.name={method}"])
    said = str(refused.value)
    assert f"method {method} sees patients' images without noise" in said
    assert "set method.name to one that follows experts" in said


@pytest.mark.parametrize(
    ("method", "overrides", "said"),
    [
        ("at-bptt", ["method.window=196"], r"method\.window \+ method\.window_spread, 206, is longer .* 200"),
        ("at-bptt", ["method.window_spread=40"], r"method\.window - method\.window_spread leaves 0 steps"),
        ("at-bptt", ["method.steep_until=0.9"], r"method\.steep_until 0\.9 is above method\.uniform_until 0\.67"),
        ("rat-bptt", ["method.window=201"], r"method\.window 201 is longer than the walk, method\.student_steps 200"),
        ("bptt", ["method.window=3"], r"method\.window is a setting of at-bptt, rat-bptt, unrolled; bptt has none"),
        ("bptt", ["method.stages=6"], r"method\.stages 6 needs as many images per class and outer steps"),
    ],
)
def test_what_does_not_fit_is_refused(method: str, overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe("demo", [f"method.name={method}", *overrides])
