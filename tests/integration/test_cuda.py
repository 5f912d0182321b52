"""The same work on a GPU: gradients as on the processor, and the whole chain; skipped where there is none."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from medistill.artifacts.corpus import Corpus
from medistill.engine.batched import adjoint_batched, unroll_batched
from medistill.engine.check import check_derivatives
from medistill.engine.images import Images
from medistill.engine.matching import match
from medistill.engine.segment import Segment
from medistill.engine.student import Student
from medistill.progress import Silent
from medistill.recipe import Recipe, override_recipe
from medistill.workflow.distill import distill
from medistill.workflow.evaluate import evaluate
from medistill.workflow.experts import train_experts
from tests.factories.attacked import distance_attacks
from tests.factories.student_walk import segment_on, walk, walk_back
from tests.naive_unroll import naive_gradient, problem

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


SMALL = {"width": 16, "channels": 3, "size": 16, "count": 10, "steps": 4, "depth": 2}


def moved_to_gpu(segment: Segment, images: Images) -> tuple[Segment, Images]:
    place = torch.device("cuda")
    there = segment_on(segment, "cuda", segment.start.dtype)
    return there, Images(images.pixels.to(place), images.labels.to(place), images.weights.to(place))


@pytest.mark.parametrize("mode", ["reverse", "compiled"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_gradient_as_on_the_processor(dtype, tolerance, mode):
    network, segment, images = problem(dtype, **SMALL)
    _, of_pixels, of_alpha, _ = naive_gradient(network, segment, images, 0.02)
    place = torch.device("cuda")
    there, moved = moved_to_gpu(segment, images)
    student = Student(network.to(place), mode)
    thetas = walk(student, moved, 0.02, there, 4)
    sizes = torch.tensor([p.numel() for p in network.parameters()])
    matched = match(thetas[-1], there, torch.ones(len(sizes), dtype=dtype, device=place), sizes)
    gradient = walk_back(student, moved, 0.02, there, thetas, matched.lambda_end, 4)
    assert float((gradient.images.cpu() - of_pixels).norm() / of_pixels.norm()) < tolerance
    assert float(gradient.alpha) == pytest.approx(float(of_alpha), rel=tolerance)


def test_segments_side_by_side_equal_one_after_another():
    network, segment, images = problem(torch.float64, **SMALL)
    there, moved = moved_to_gpu(segment, images)
    student = Student(network.cuda())
    ends = torch.randn(2, len(there.start), dtype=torch.float64, device="cuda")
    stacked = unroll_batched(student, moved, 0.02, [there, there], micro_batch=4)
    together = adjoint_batched(student, moved, 0.02, [there, there], stacked, ends, micro_batch=4)
    for k, gradient in enumerate(together):
        thetas = walk(student, moved, 0.02, there, 4)
        alone = walk_back(student, moved, 0.02, there, thetas, ends[k], 4)
        assert float((gradient.images - alone.images).norm() / alone.images.norm()) < 1e-10


@pytest.mark.parametrize(("mode", "precision"), [("compiled", "fp32"), ("reverse", "tf32"), ("reverse", "bf16")])
def test_faster_ways_pass_their_first_comparison(mode, precision):
    network, segment, images = problem(torch.float32, **SMALL)
    there, moved = moved_to_gpu(segment, images)
    student = Student(network.cuda(), mode)
    check_derivatives(student, moved, there, precision, 4, Silent())
    assert student.hvp_mode == mode


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_whole_chain(phantom_corpus: Corpus, tiny_recipe: Recipe, tmp_path, precision):
    recipe = tiny_recipe.model_copy(update={"compute": tiny_recipe.compute.model_copy(update={"precision": precision})})
    trajectories = train_experts(phantom_corpus, recipe, device="cuda")
    made = distill(phantom_corpus, trajectories, recipe, out=tmp_path, device="cuda")
    assert made.provenance.device == "cuda"
    evaluation = evaluate(made, phantom_corpus, recipe, out=tmp_path, device="cuda")
    assert len(evaluation.arms) == 3


@pytest.mark.parametrize("encoder", ["pca", "autoencoder"])
def test_a_quantised_set(phantom_corpus: Corpus, tiny_recipe: Recipe, tmp_path, encoder):
    small = ["method.quantise.components=8", "method.quantise.min_cluster_size=2", f"method.quantise.encoder={encoder}"]
    small += [
        "method.autoencoder.width=8",
        "method.autoencoder.latent_channels=1",
        "method.autoencoder.epochs=2",
        "method.autoencoder.levels=5",
    ]
    recipe = override_recipe(tiny_recipe, ["method.name=ddoq", *small], "test")
    made = distill(phantom_corpus, None, recipe, out=tmp_path / "gpu", device="cuda")
    assert made.provenance.device == "cuda"
    assert made.soft_labels is not None
    assert made.soft_labels.sum(axis=1) == pytest.approx(1, abs=1e-5)
    evaluation = evaluate(made, phantom_corpus, recipe, out=tmp_path / "gpu", device="cuda")
    assert evaluation.arm("distilled") is not None
    found = distance_attacks(made, phantom_corpus, recipe, "cuda")
    assert [one.source for one in found] == ["distilled", "random"]
    if encoder == "pca":
        distill(phantom_corpus, None, recipe, out=tmp_path / "cpu", device="cpu")
        here, there = (json.loads((tmp_path / name / "quantisation.json").read_text()) for name in ("gpu", "cpu"))
        for ours, theirs in zip(here["classes"], there["classes"], strict=True):
            for figure in ("w2", "reconstruction", "error"):
                assert ours[figure] == pytest.approx(theirs[figure], rel=0.02)


def test_images_that_begin_as_centroids(phantom_corpus: Corpus, tiny_recipe: Recipe, tmp_path):
    small = ["method.quantise.components=8", "method.quantise.min_cluster_size=2"]
    recipe = override_recipe(tiny_recipe, ["method.init=quantised", *small], "test")
    trajectories = train_experts(phantom_corpus, recipe, device="cuda")
    made = distill(phantom_corpus, trajectories, recipe, out=tmp_path, device="cuda")
    assert made.provenance.starts_from == "quantised"
    assert np.isfinite(made.images).all()
