"""Distribution matching beyond DM through the whole chain: networks trained first or meanwhile, and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import ArtifactError, RecipeError
from medistill.methods.comparing import blended
from medistill.progress import Silent, SilentTask
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.training import ensemble
from medistill.workflow.distill import distill
from medistill.workflow.run import run

METHODS = {
    "m3d": [],
    "dance": ["method.trained.count=2", "method.trained.epochs=2"],
    "ncfm": ["method.trained.count=2", "method.trained.epochs=2", "method.frequencies=32"],
    "idm": ["method.queue.first=1", "method.queue.most=2", "method.queue.every=2", "method.queue.steps=2"],
}


def recipe_of(tiny: Recipe, method: str) -> Recipe:
    return override_recipe(tiny, [f"method.name={method}", "method.batch_real=6", *METHODS[method]], "test")


class Stops(Silent):
    """Interrupts a task after some steps."""

    def __init__(self, title: str, after: int) -> None:
        self.title, self.after = title, after

    def task(self, title, total, *, done=0):
        asked = self

        class Task(SilentTask):
            seen = 0

            def advance(self, steps=1, *, figures=""):
                self.seen += 1
                if title == asked.title and self.seen == asked.after:
                    raise KeyboardInterrupt

        return Task()


@pytest.mark.parametrize("method", ["ncfm", "idm"])
def test_from_files_to_report(method: str, tiny_recipe: Recipe, phantom_folder: Path, tmp_path: Path) -> None:
    recipe, out = recipe_of(tiny_recipe, method), tmp_path / "run"
    run(recipe, out=out, data=phantom_folder, device="cpu")
    made = DistilledSet.load(out)
    assert made.provenance.method == method.upper()
    assert made.student_lr == recipe.evaluate.lr
    history = json.loads((out / "history.json").read_text())
    assert len(history["loss"]) == recipe.method.outer_steps
    assert np.isfinite(history["loss"]).all()
    assert "up to 6 originals of each class" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("method", "title", "after"),
    [*((method, "Distilling", 3) for method in METHODS), ("dance", "Training networks", 3)],
)
def test_interrupted_and_resumed_to_the_same_bits(
    method: str, title: str, after: int, tiny_recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = recipe_of(tiny_recipe, method)
    whole = distill(phantom_corpus, None, recipe, out=tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, None, recipe, out=tmp_path / "killed", device="cpu", progress=Stops(title, after))
    resumed = distill(phantom_corpus, None, recipe, out=tmp_path / "killed", device="cpu", resume=True)
    assert resumed.images.tobytes() == whole.images.tobytes()
    for name in ("set/images.safetensors", "history.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_networks_are_trained_once(
    tiny_recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(tiny_recipe, "ncfm")
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu", progress=Stops("Distilling", 2))

    def trains(*_: object, **__: object) -> None:
        raise AssertionError("a network is trained again")

    monkeypatch.setattr(ensemble, "train_network", trains)
    distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu", resume=True)
    assert not (tmp_path / "run" / "state").exists(), "the networks, which saw patients, went with it"


def test_a_damaged_network_is_trained_again_to_the_same_bits(
    tiny_recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = recipe_of(tiny_recipe, "dance")
    whole = distill(phantom_corpus, None, recipe, out=tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu", progress=Stops("Distilling", 2))
    (tmp_path / "run" / "state" / "networks" / "001.safetensors").write_bytes(b"damaged")
    resumed = distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu", resume=True)
    assert resumed.images.tobytes() == whole.images.tobytes()


def test_a_run_does_not_go_on_in_the_eyes_of_other_networks(
    tiny_recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where they are trained again by another number of threads, which rounds sums otherwise."""
    recipe, trained = recipe_of(tiny_recipe, "dance"), blended.trained_networks
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu", progress=Stops("Distilling", 2))
    monkeypatch.setattr(blended, "trained_networks", lambda *given: (trained(*given)[0] + 1e-6, "another digest"))
    with pytest.raises(ArtifactError, match="made with other experts"):
        distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu", resume=True)


@pytest.mark.parametrize("method", METHODS)
def test_of_some_classes_the_others_are_not_looked_at(
    method: str, tiny_recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    kept = phantom_corpus.class_names[1:]
    made = distill(phantom_corpus, None, recipe_of(tiny_recipe, method), out=tmp_path, classes=kept, device="cpu")
    assert set(made.labels.tolist()) == set(range(1, len(phantom_corpus.class_names)))
    assert np.isfinite(made.images).all()


@pytest.mark.parametrize("method", METHODS)
def test_what_has_no_guarantee_or_no_fresh_features_is_refused(method: str) -> None:
    with pytest.raises(RecipeError, match=rf"method {method} sees patients' images without noise"):
        load_recipe("covid-xray-dp", [f"method.name={method}"])
    with pytest.raises(RecipeError, match="compares the features of networks that begin with random numbers"):
        load_recipe("covid-xray-cpu", [f"method.name={method}", "network.name=probe"])


def test_a_shadow_trains_no_more_networks_than_an_audit_allows() -> None:
    recipe = load_recipe("demo", ["method.name=dance"])
    fewer = recipe.method.cut_down(experts=3, iterations=5)
    assert (fewer.trained.count, fewer.outer_steps) == (3, 5)


def test_weights_that_match_nothing_are_refused() -> None:
    for setting, other in (("amplitude", "phase"), ("phase", "amplitude")):
        assert load_recipe("demo", ["method.name=ncfm", f"method.{setting}=0"]).method.name == "ncfm"
        with pytest.raises(RecipeError, match=r"method\.amplitude = 0 and method\.phase = 0 match nothing"):
            load_recipe("demo", ["method.name=ncfm", f"method.{setting}=0", f"method.{other}=0"])
