"""The whole chain on whitened images: every room sees the same ones, and a set carries what made them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import medistill as md
from medistill.artifacts.whitening import Whitening
from medistill.errors import ArtifactError
from medistill.evaluate.protocol import random_rows
from medistill.networks.registry import build_network, network_spec
from medistill.recipe import load_recipe, override_recipe
from medistill.training import images
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, train
from medistill.training.randomness import generator


@pytest.mark.parametrize(
    ("ipc", "steps", "bound", "image_lr", "student_lr", "student_lr_lr", "zca"),
    [(1, 50, 2, 1e2, 1e-2, 1e-7, True), (10, 30, 20, 1e2, 1e-3, 1e-5, True), (50, 30, 40, 1e3, 1e-3, 1e-5, False)],
)
def test_the_cifar_recipes_are_the_published_settings(ipc, steps, bound, image_lr, student_lr, student_lr_lr, zca):
    """As MTT's author lists them: IPC, syn_steps, max_start_epoch, lr_img, lr_teacher, lr_lr and ZCA."""
    recipe = load_recipe(f"cifar10-ipc{ipc}")
    made = recipe.method
    assert (made.ipc, made.syn_steps, made.max_start_epoch, made.image_lr) == (ipc, steps, bound, image_lr)
    assert (made.student_lr, made.student_lr_lr, made.expert_epochs, made.batch_syn) == (
        student_lr,
        student_lr_lr,
        2,
        0,
    )
    assert (recipe.data.zca, recipe.data.zca_regularisation) == (zca, 0.1)
    shared = load_recipe("cifar10-ipc1")
    for section in ("seed", "network", "augmentation", "evaluate", "compute"):
        assert getattr(recipe, section) == getattr(shared, section)
    assert made.experts == shared.method.experts
    assert (recipe.data == shared.data) == zca


def test_from_files_to_an_evaluation(phantom_folder, tiny_recipe, tmp_path, monkeypatch):
    changes = [
        "method.name=ftd",
        "method.experts.sharpness=0.5",
        "data.zca=true",
        "data.image_size=16",
        "method.image_lr=1e-6",
    ]
    recipe = override_recipe(tiny_recipe, changes, "this test")
    plain = override_recipe(recipe, ["data.zca=false"], "this test")
    corpus = md.prepare(phantom_folder, recipe)
    assert md.prepare(phantom_folder, plain).content == corpus.content
    rows = corpus.rows("train")

    experts = md.train_experts(corpus, recipe, device="cpu")
    fitted = Whitening.of(corpus.images[rows], recipe.data.zca_regularisation)
    assert experts.normalisation.whitening == fitted
    another = override_recipe(recipe, ["data.zca_regularisation=0.2"], "this test")
    keys = {md.train_experts(corpus, one, device="cpu").key for one in (plain, another)}
    assert len({*keys, experts.key}) == 3
    monkeypatch.setattr(Whitening, "of", _not_again)
    assert md.train_experts(corpus, recipe, device="cpu").key == experts.key
    with pytest.raises(ArtifactError, match=r"zca: seen 0\.1, expected None"):
        md.distill(corpus, experts, plain, out=tmp_path / "plain", device="cpu")

    monkeypatch.setattr(images, "ROWS", 7)  # several pieces, the last one short
    assert len(rows) % 7
    seen = LabelledImages.of_split(corpus, "train", experts.normalisation, torch.device("cpu"))
    np.testing.assert_allclose(seen.batch(slice(None)), experts.normalisation.apply(corpus.images[rows]), atol=1e-4)
    np.testing.assert_array_equal(seen.labels, corpus.labels[rows])
    assert _distance(experts, corpus, recipe, seen, sharpness=0.5, surrogate_gap=1.0) < 1e-3
    assert _distance(experts, corpus, recipe, seen, sharpness=0.5, surrogate_gap=0.0) > 1e-2
    assert _distance(experts, corpus, recipe, seen, sharpness=0.0, surrogate_gap=0.0) > 1e-2

    distilled = md.distill(corpus, experts, recipe, out=tmp_path, device="cpu")
    # At so small a rate the images are still the real ones that they started from, whitened; a person sees those.
    start = corpus.images[random_rows(corpus, [recipe.method.ipc] * len(corpus.class_names), recipe.seed, -1)]
    np.testing.assert_allclose(distilled.images, experts.normalisation.apply(start), atol=1e-3)
    np.testing.assert_array_equal(distilled.viewable(), start)
    assert "whitening" in distilled.provenance.privacy

    loaded = md.DistilledSet.load(tmp_path)
    assert loaded.normalisation == distilled.normalisation == experts.normalisation
    new = np.random.default_rng(0).integers(0, 256, (3, *corpus.images.shape[1:])).astype(np.uint8)
    np.testing.assert_array_equal(loaded.normalisation.apply(new), experts.normalisation.apply(new))

    evaluation = md.evaluate(loaded, corpus, recipe, out=tmp_path, device="cpu")
    assert {arm.arm for arm in evaluation.arms} == {"raw", "random", "kmeans", "distilled"}


def _not_again(*_: object) -> Whitening:
    raise AssertionError("the whitening that lies in the store has to be taken, not fitted anew")


def _distance(experts, corpus, recipe, seen, *, sharpness: float, surrogate_gap: float) -> float:
    """How far expert 0 ended from a network trained on what it saw with these settings, as a share of its way."""
    numbers, made = generator(recipe.seed, "expert", 0), recipe.method.experts
    network = build_network(network_spec(corpus, recipe), numbers)
    schedule = Schedule(made.epochs, made.batch_size, made.lr, sharpness=sharpness, surrogate_gap=surrogate_gap)
    end = train(network, seen, schedule, recipe.augmentation, numbers, micro_batch=1000).values.numpy()
    start, reached = experts.snapshot(0, 0), experts.snapshot(0, made.epochs)
    return float(np.linalg.norm(end - reached) / np.linalg.norm(reached - start))
