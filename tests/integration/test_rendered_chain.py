"""Images rendered from features through the whole chain: no experts, an encoder, and the outer loop that all have."""

from __future__ import annotations

import html
import json
import re
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
from medistill.engine.objectives import encoded
from medistill.errors import DataError, RecipeError
from medistill.methods.rendering.render import render
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.training.device import choose_device
from medistill.training.fitted_normalisation import fitted_normalisation
from medistill.workflow.distill import distill
from medistill.workflow.retrace import making_flaw
from medistill.workflow.run import run
from tests.factories.on_cpu import on_cpu
from tests.factories.stopping import Stops
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

CPU = choose_device("cpu")
OWN = {
    "encoded-ddoq": ["method.quantise.min_cluster_size=2"],
    "encoded-moments": ["method.min_patients=3"],
    "lgm": ["method.batch_real=6"],
    "clp-dd": ["method.batch_real=100000"],  # more than any class has: all are taken
}


@pytest.fixture(autouse=True)
def encoder(private_cache: Path, tmp_path: Path) -> Iterator[Encoder]:
    """The tiny encoder, in the cache of each test."""
    with tiny_architecture():
        yield stored_tiny(tmp_path / "encoder")


def recipe_of(recipe: Recipe, encoder: Encoder, method: str, *more: str) -> Recipe:
    """Four outer steps of a method on the tiny encoder."""
    settings = ["network.name=probe", f'network.encoder="{encoder.sha256}"', f"method.name={method}"]
    steps = ["method.iterations=4", "method.validate_every=2", "method.levels=3", "method.ipc=2"]
    return override_recipe(recipe, [*settings, *steps, *OWN[method], *more], "test")


def words(out: Path) -> str:
    """What the report of a run says."""
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


@pytest.mark.parametrize("method", OWN)
def test_made_again_in_the_same_bits_after_an_interruption_and_traced(
    method: str, tiny_recipe: Recipe, encoder: Encoder, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = recipe_of(tiny_recipe, encoder, method, "method.jitter=0.1")
    whole = distill(phantom_corpus, None, recipe, out=tmp_path / "whole", device="cpu")
    assert np.isfinite(whole.images).all()
    grey = whole.normalisation.grey(whole.images)
    assert grey.min() > -1e-6
    assert grey.max() < 1 + 1e-6
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, None, recipe, out=tmp_path / "killed", device="cpu", progress=Stops(3))
    resumed = distill(phantom_corpus, None, recipe, out=tmp_path / "killed", device="cpu", resume=True)
    assert resumed.images.tobytes() == whole.images.tobytes()
    for name in ("set/images.safetensors", "history.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    found = making_flaw(whole, on_cpu(phantom_corpus, recipe, tmp_path / "audit"), tmp_path / "whole")
    assert found[0] == ""
    assert found[1].endswith("are the same bits")


def test_centroids_from_files_to_report(
    tiny_recipe: Recipe, encoder: Encoder, phantom_folder: Path, tmp_path: Path
) -> None:
    recipe, out = recipe_of(tiny_recipe, encoder, "encoded-ddoq"), tmp_path / "run"
    report = run(recipe, out=out, data=phantom_folder, device="cpu")
    made, known = DistilledSet.load(out), json.loads((out / "quantisation.json").read_text())
    assert made.provenance.method == "encoded-DDOQ"
    assert made.provenance.quantisation is not None
    assert made.provenance.quantisation.encoder == known["encoder"] == "features"
    assert known["dimension"] == encoder.dimension
    assert made.weights.mean() == pytest.approx(1)
    for of_class in known["classes"]:
        assert of_class["reconstruction"] is None
        assert min(of_class["cell_patients"]) >= 2
    assert report.quantisation is not None
    page = words(out)
    for said in (
        "an image was rendered from each",
        "22 features of a frozen encoder",
        "noise, and rendered from means of several patients",
        "Each counts in the loss by the share of its class",
    ):
        assert said in page, said
    assert "decoded" not in page


def test_centroids_are_the_means_of_their_cells_in_the_features(
    tiny_recipe: Recipe, encoder: Encoder, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    from medistill.methods.quantising.quantise import quantise

    recipe = recipe_of(tiny_recipe, encoder, "encoded-ddoq", "method.ipc=1")
    context = on_cpu(phantom_corpus, recipe, tmp_path)
    found = quantise(context, [0, 1])
    features = features_of(phantom_corpus, encoder, CPU, Silent()).astype(np.float64)
    train = phantom_corpus.rows("train")
    spread = np.empty(encoder.dimension)
    for layer in (slice(0, 6), slice(6, 22)):
        spread[layer] = np.sqrt(np.mean([np.var(features[train, j]) for j in range(layer.start, layer.stop)]))
    for c in (0, 1):
        mean = features[train[phantom_corpus.labels[train] == c]].mean(axis=0)
        assert np.abs(found.codes[c] * spread - mean).max() < 1e-4
    assert found.grey is None


def test_features_come_to_targets_and_the_corpus_is_not_touched_where_nobody_may_look(
    tiny_recipe: Recipe, encoder: Encoder, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = recipe_of(tiny_recipe, encoder, "encoded-moments", "method.iterations=120", "method.smoothness=0")

    class Untouched:
        """A corpus of which nothing may be read."""

        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"{name} of the corpus was read")

    context = on_cpu(phantom_corpus, recipe, tmp_path / "run")
    normalisation = fitted_normalisation(phantom_corpus, recipe, Silent())
    matrix = torch.randn(encoder.dimension, 3, generator=torch.Generator().manual_seed(0)) / 5
    wanted = torch.from_numpy(features_of(phantom_corpus, encoder, CPU, Silent())[:4].astype(np.float32)) @ matrix
    made = render(
        replace(context, corpus=Untouched()),  # type: ignore[arg-type]
        recipe.method,  # type: ignore[arg-type]
        wanted,
        matrix,
        torch.tensor([0, 0, 1, 1]),
        {},
        normalisation=normalisation,
        soft_labels=torch.tensor([[0.9, 0.1]] * 4),
        weights=torch.tensor([0.5, 1.5, 1, 1]),
        look=False,
    )
    seen = encoder.encoded(torch.from_numpy(normalisation.grey(made.images))) @ matrix
    assert float((seen - wanted).square().mean()) < 0.01 * float(wanted.square().mean())
    assert made.weights.tolist() == [0.5, 1.5, 1, 1]
    assert made.soft_labels is not None
    assert made.soft_labels[0].tolist() == pytest.approx([0.9, 0.1])


def test_graphs_that_are_not_kept_give_the_same_images(
    tiny_recipe: Recipe, encoder: Encoder, phantom_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(tiny_recipe, encoder, "clp-dd")
    kept = distill(phantom_corpus, None, recipe, out=tmp_path / "kept", device="cpu")
    monkeypatch.setattr(encoded, "GRAPHS", 0)
    anew = distill(phantom_corpus, None, recipe, out=tmp_path / "anew", device="cpu")
    assert kept.images.tobytes() == anew.images.tobytes()


@pytest.mark.parametrize("method", OWN)
def test_one_image_at_a_time_gives_the_same_images_but_for_rounding(
    method: str, tiny_recipe: Recipe, encoder: Encoder, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    one, all_at_once = (
        distill(
            phantom_corpus,
            None,
            recipe_of(tiny_recipe, encoder, method, f"compute.micro_batch={size}", "method.iterations=2"),
            out=tmp_path / str(size),
            device="cpu",
        )
        for size in (1, 64)
    )
    off = np.abs(one.images - all_at_once.images)
    assert float(np.quantile(off, 0.99)) < 1e-3  # Adam's first step divides rounding by itself where a gradient is 0


@pytest.mark.parametrize("method", OWN)
def test_without_an_encoder_they_are_refused(
    method: str, tiny_recipe: Recipe, encoder: Encoder, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = override_recipe(
        recipe_of(tiny_recipe, encoder, method), ['network.encoder=""', "network.name=convnet"], ""
    )
    with pytest.raises(RecipeError, match=rf"method {method} with network convnet.*a probe.*--encoder"):
        distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu")


def test_a_class_of_too_few_patients_is_refused_by_name(
    tiny_recipe: Recipe, encoder: Encoder, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    settings = {"encoded-ddoq": "method.quantise.min_cluster_size=1000", "encoded-moments": "method.min_patients=1000"}
    for method, setting in settings.items():
        recipe = recipe_of(tiny_recipe, encoder, method, setting)
        with pytest.raises(DataError, match="patients"):
            distill(phantom_corpus, None, recipe, out=tmp_path / method, device="cpu")


def test_targets_of_another_encoder_are_refused(
    tiny_recipe: Recipe, encoder: Encoder, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = recipe_of(tiny_recipe, encoder, "lgm")
    context, normalisation = (
        on_cpu(phantom_corpus, recipe, tmp_path),
        fitted_normalisation(phantom_corpus, recipe, Silent()),
    )
    for targets, said in (
        (torch.zeros(2, 5), "targets .2, 5. for 2 images and 22 features"),
        (torch.full((2, 22), float("nan")), "NaN"),
    ):
        with pytest.raises(RecipeError, match=said):
            render(context, recipe.method, targets, None, torch.tensor([0, 1]), {}, normalisation=normalisation)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", OWN)
def test_differential_privacy_is_refused(method: str) -> None:
    with pytest.raises(RecipeError, match=rf"method {method} sees patients' images without noise"):
        load_recipe("covid-xray-dp", [f"method.name={method}"])
