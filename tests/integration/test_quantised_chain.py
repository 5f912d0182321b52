"""Quantising methods through the whole chain, and images of other methods that begin as centroids."""

from __future__ import annotations

import json
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import read_result
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import DataError, RecipeError, UsageError
from medistill.evaluate.predictions import load_arms
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import build_network, network_spec
from medistill.progress import Silent, SilentTask
from medistill.quantisation.record import Quantisation
from medistill.recipe import Recipe, override_recipe
from medistill.workflow.distill import distill
from medistill.workflow.evaluate import evaluate
from medistill.workflow.experts import train_experts
from medistill.workflow.prepare import prepare
from medistill.workflow.run import run

SMALL = [
    "method.quantise.components=8",
    "method.quantise.min_cluster_size=2",
    "method.quantise.passes=3",
    "method.quantise.refine=20",
]


@pytest.fixture(scope="module")
def corpus(
    phantom_folder: Path, phantom_read: Path, tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Corpus:
    cache = shutil.copytree(phantom_read, tmp_path_factory.mktemp("quantised") / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDISTILL_CACHE", str(cache))
        return prepare(phantom_folder, tiny_recipe)


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    return override_recipe(tiny_recipe, ["method.name=ddoq", *SMALL], "test")


def changed(recipe: Recipe, *overrides: str) -> Recipe:
    return override_recipe(recipe, overrides, "test")


def test_from_corpus_to_evaluation(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    made = distill(corpus, None, recipe, out=tmp_path, device="cpu")
    loaded = DistilledSet.load(tmp_path)
    known = Quantisation.from_json(read_result(tmp_path / "quantisation.json", "quantisation"), "test")
    assert loaded.images.tobytes() == made.images.tobytes()
    assert loaded.provenance.method == "DDOQ"
    assert loaded.provenance.starts_from == "quantised"
    assert "trajectories" not in loaded.provenance.as_json()
    assert loaded.provenance.quantisation.smallest_cluster == known.smallest >= 2
    assert loaded.student_lr == recipe.evaluate.lr
    for c, of_class in enumerate(known.classes):
        mine = loaded.labels == c
        assert np.count_nonzero(mine) == len(of_class.cell_images) == recipe.method.ipc - of_class.given_up
        assert sum(of_class.cell_images) == of_class.images == np.sum(corpus.labels[corpus.rows("train")] == c)
        expected = np.array(of_class.cell_images) / np.mean(of_class.cell_images)
        np.testing.assert_allclose(loaded.weights[mine] / loaded.weights[mine].mean(), expected, rtol=1e-5)
    assert not (tmp_path / "state").exists()

    evaluate(loaded, corpus, recipe, out=tmp_path, device="cpu")
    answers = {arm.arm: arm.test for arm in load_arms(tmp_path / "evaluation")}
    level = replace(loaded, weights=np.ones_like(loaded.weights))
    evaluate(level, corpus, recipe, out=tmp_path / "level", device="cpu")
    unweighted = {arm.arm: arm.test for arm in load_arms(tmp_path / "level" / "evaluation")}
    assert not np.array_equal(unweighted["distilled"], answers["distilled"])


def test_an_image_is_the_mean_of_its_cell_seen_through_the_components(
    corpus: Corpus, recipe: Recipe, tmp_path: Path
) -> None:
    made = distill(corpus, None, changed(recipe, "method.labels=hard", "method.ipc=1"), out=tmp_path, device="cpu")
    train = corpus.rows("train")
    pixels = corpus.images[train].reshape(len(train), -1) / 255
    components = PCA(8, svd_solver="full").fit(pixels)
    for c in range(len(corpus.class_names)):
        mean = pixels[corpus.labels[train] == c].mean(axis=0, keepdims=True)
        expected = components.inverse_transform(components.transform(mean)).clip(0, 1)
        np.testing.assert_allclose(made.normalisation.grey(made.images[c : c + 1]).reshape(1, -1), expected, atol=2e-3)


def test_soft_labels_are_what_the_stored_teachers_answer(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(recipe, "method.quantise.teachers=2", "method.quantise.temperature=3")
    made = distill(corpus, None, recipe, out=tmp_path, device="cpu")
    from safetensors.torch import load_file

    paths = sorted((tmp_path / "teacher").glob("*.safetensors"))
    assert len(paths) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert stat.S_IMODE((tmp_path / "teacher").stat().st_mode) == 0o700
    network, told = build_network(network_spec(corpus, recipe), torch.Generator()), []
    for path in paths:
        FlatParameters(network).load(load_file(str(path))["parameters"])
        with torch.no_grad():
            told.append(F.softmax(network(torch.from_numpy(made.images)) / 3, dim=1))
    np.testing.assert_allclose(made.soft_labels, torch.stack(told).mean(dim=0).numpy(), atol=1e-5)
    assert made.provenance.quantisation.temperature == 3


def test_d4m_has_equal_weights_and_the_same_images(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    weighted = distill(corpus, None, recipe, out=tmp_path / "ddoq", device="cpu")
    plain = distill(corpus, None, changed(recipe, "method.name=d4m", *SMALL), out=tmp_path / "d4m", device="cpu")
    np.testing.assert_array_equal(plain.images, weighted.images)
    assert np.ptp(plain.weights) < 1e-6 < np.ptp(weighted.weights)
    assert plain.provenance.method == "D4M"


def test_sets_nest(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    nested = changed(
        recipe, "method.quantise.nested=[1, 3, 6]", "method.quantise.min_cluster_size=1", "method.labels=hard"
    )
    sets = {
        ipc: distill(corpus, None, changed(nested, f"method.ipc={ipc}"), out=tmp_path / str(ipc), device="cpu")
        for ipc in (1, 3, 6)
    }
    for small, large in ((1, 3), (3, 6)):
        for c in range(len(corpus.class_names)):
            first = sets[large].images[sets[large].labels == c][:small]
            np.testing.assert_array_equal(first, sets[small].images[sets[small].labels == c])


@pytest.mark.parametrize("stage", ["Encoding", "Quantising", "Training teachers"])
def test_a_run_that_was_stopped_ends_in_the_same_bits(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, stage: str
) -> None:
    class Stop(SilentTask):
        def advance(self, steps: int = 1, *, figures: str = "") -> None:
            raise KeyboardInterrupt

    class StopThere(Silent):
        def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
            return Stop() if title.startswith(stage) else SilentTask()

    whole = distill(corpus, None, recipe, out=tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        distill(corpus, None, recipe, out=tmp_path / "cut", device="cpu", progress=StopThere())
    with pytest.raises(UsageError, match="holds a run already"):
        distill(corpus, None, recipe, out=tmp_path / "cut", device="cpu")
    resumed = distill(corpus, None, recipe, out=tmp_path / "cut", device="cpu", resume=True)
    assert resumed.file_bytes() == whole.file_bytes()


def test_images_of_another_method_begin_as_centroids(
    corpus: Corpus, recipe: Recipe, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    hard = changed(recipe, "method.labels=hard")
    centroids = distill(corpus, None, hard, out=tmp_path / "ddoq", device="cpu")
    begun = changed(tiny_recipe, "method.init=quantised", *SMALL, "method.image_lr=1e-12")
    experts = train_experts(corpus, begun, device="cpu")
    made = distill(corpus, experts, begun, out=tmp_path / "iadd", device="cpu")
    np.testing.assert_allclose(made.images, centroids.images, atol=1e-6)
    assert made.weights.tolist() == [1.0] * len(made.labels)
    assert made.provenance.starts_from == "quantised"
    assert made.provenance.quantisation.smallest_cluster >= 2
    assert "weights" not in made.provenance.as_json()["quantisation"]
    moved = distill(corpus, experts, changed(begun, "method.image_lr=100"), out=tmp_path / "moved", device="cpu")
    assert not np.allclose(moved.images, centroids.images, atol=1e-6)


def test_the_whole_job(
    corpus: Corpus, phantom_folder: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDISTILL_CACHE", str(corpus.path.parents[1]))  # where the corpus is prepared already
    report = run(recipe, out=tmp_path / "run", data=phantom_folder, device="cpu")
    assert report.quantisation is not None
    assert report.course is None
    stages = json.loads((tmp_path / "run" / "run.json").read_text())["stages"]
    assert set(stages) == {"prepare", "distill", "evaluate"}
    again = run(recipe, out=tmp_path / "run", data=phantom_folder, device="cpu", resume=True)
    assert again.evaluation == report.evaluation


def test_what_quantising_refuses_is_told_before_experts_are_trained_and_takes_no_folder(
    corpus: Corpus, phantom_folder: Path, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDISTILL_CACHE", str(corpus.path.parents[1]))
    begun = changed(tiny_recipe, "method.init=quantised", "method.experts.epochs=4", *SMALL)
    prepare(phantom_folder, begun)
    kept = {store.name for store in (corpus.path.parents[1] / "trajectories").glob("*")}
    few = changed(begun, "method.quantise.min_cluster_size=500")
    with pytest.raises(DataError, match="min_cluster_size = 500"):
        run(few, out=tmp_path / "run", data=phantom_folder, device="cpu")
    assert {store.name for store in (corpus.path.parents[1] / "trajectories").glob("*")} == kept
    assert not (tmp_path / "run" / "state").exists()
    report = run(begun, out=tmp_path / "run", data=phantom_folder, device="cpu")
    assert report.quantisation is not None
    experts = train_experts(prepare(phantom_folder, begun), begun, device="cpu")
    alone = distill(prepare(phantom_folder, begun), experts, begun, out=tmp_path / "alone", device="cpu")
    assert DistilledSet.load(tmp_path / "run" / "set").images.tobytes() == alone.images.tobytes()


def test_whitened_images_are_the_same_grey_values(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(recipe, "method.labels=hard")
    plain = distill(corpus, None, recipe, out=tmp_path / "plain", device="cpu")
    whitened = distill(corpus, None, changed(recipe, "data.zca=true"), out=tmp_path / "white", device="cpu")
    assert whitened.normalisation.whitening is not None
    np.testing.assert_allclose(
        whitened.normalisation.grey(whitened.images), plain.normalisation.grey(plain.images), atol=1e-3
    )


def of_rows(corpus: Corpus, keep: np.ndarray) -> Corpus:
    """The corpus with a training split of these rows alone; the others are in none."""
    splits = corpus.splits.copy()
    splits[np.setdiff1d(corpus.rows("train"), keep)] = 9
    return replace(corpus, splits=splits)


def test_a_class_smaller_than_ipc_is_refused(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fewer than 500 images per class"):
        distill(corpus, None, changed(recipe, "method.ipc=500"), out=tmp_path, device="cpu")


def test_a_class_of_one_patient_is_refused(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    groups = np.where(corpus.labels == 0, corpus.groups[0], corpus.groups)
    with pytest.raises(DataError, match=f"class {corpus.class_names[0]} has 1 training patients"):
        distill(replace(corpus, groups=groups), None, recipe, out=tmp_path, device="cpu")


def test_images_that_are_all_alike_are_refused(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    alike = replace(corpus, images=np.full(corpus.images.shape, 77, np.uint8))
    with pytest.raises(DataError, match="are equal"):
        distill(alike, None, recipe, out=tmp_path / "all", device="cpu")
    images = np.array(corpus.images)
    images[corpus.labels == 1] = 77
    with pytest.raises(DataError, match=f"class {corpus.class_names[1]} has only 1 different training images"):
        distill(replace(corpus, images=images), None, recipe, out=tmp_path / "one", device="cpu")
    assert list((tmp_path / "one").rglob("codes_*")) == []  # they are patients', and nobody would remove them


def test_more_components_than_images_are_refused(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"quantise\.components = 900"):
        distill(corpus, None, changed(recipe, "method.quantise.components=900"), out=tmp_path, device="cpu")


def test_a_code_larger_than_the_corpus_is_refused(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    wide = [
        "method.quantise.encoder=autoencoder",
        "method.autoencoder.width=8",
        "method.autoencoder.levels=2",
        "method.autoencoder.epochs=1",
    ]
    with pytest.raises(DataError, match="a code has 1024 numbers"):
        distill(
            corpus, None, changed(recipe, *wide, "method.autoencoder.latent_channels=4"), out=tmp_path, device="cpu"
        )


def test_what_a_recipe_may_not_join(tiny_recipe: Recipe) -> None:
    for overrides, told in (
        (["method.name=ddoq", "method.init=real"], r"method\.init is a setting of .*; ddoq has none"),
        (["method.quantise.nested=[10, 1]"], "does not ascend"),
        (["method.quantise.encoder=brought"], "--decoder"),
        (["method.name=ddoq", "method.stages=2"], r"method\.stages is a setting of .*pdd.*; ddoq has none"),
        (["method.name=ddoq", "privacy.mode=dp"], "averages patients' images without noise"),
        (["method.init=quantised", "privacy.mode=dp"], "means of them"),
    ):
        with pytest.raises(RecipeError, match=told):
            override_recipe(tiny_recipe, overrides, "test")


def test_a_method_that_follows_experts_needs_them(corpus: Corpus, tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="follows experts"):
        distill(corpus, None, tiny_recipe, out=tmp_path, device="cpu")


def test_constants_of_the_normalisation_are_those_of_the_training_split(
    corpus: Corpus, recipe: Recipe, tmp_path: Path
) -> None:
    made = distill(corpus, None, changed(recipe, "method.labels=hard"), out=tmp_path, device="cpu")
    assert made.normalisation == Normalisation.of(corpus.images[corpus.rows("train")])
