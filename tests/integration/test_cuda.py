"""The same work on a GPU: gradients as on the processor, and the whole chain; skipped where there is none."""

from __future__ import annotations

import pytest
import torch

from medistill.artifacts.corpus import Corpus
from medistill.engine.matching import match
from medistill.engine.segment import Segment
from medistill.engine.student import Student
from medistill.engine.unroll import Images, adjoint, unroll
from medistill.recipe import Recipe
from medistill.training.augmentation import Draw
from medistill.workflow.distill import distill
from medistill.workflow.evaluate import evaluate
from medistill.workflow.experts import train_experts
from tests.naive_unroll import naive_gradient, problem

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_gradient_as_on_the_processor(dtype, tolerance):
    network, segment, images = problem(dtype, width=16, channels=3, size=16, count=10, steps=4, depth=2)
    _, of_pixels, of_alpha, _ = naive_gradient(network, segment, images, 0.02)
    place = torch.device("cuda")
    draws = [Draw(d.operations, {name: v.to(place) for name, v in d.numbers.items()}) for d in segment.draws]
    there = Segment(
        segment.start.to(place), segment.target.to(place), [rows.to(place) for rows in segment.batches], draws
    )
    moved = Images(images.pixels.to(place), images.labels.to(place), images.weights.to(place))
    student = Student(network.to(place))
    thetas = unroll(student, moved, 0.02, there, micro_batch=4)
    sizes = torch.tensor([p.numel() for p in network.parameters()])
    matched = match(thetas[-1], there, torch.ones(len(sizes), dtype=dtype, device=place), sizes)
    gradient = adjoint(student, moved, 0.02, there, thetas, matched.lambda_end, micro_batch=4)
    assert float((gradient.images.cpu() - of_pixels).norm() / of_pixels.norm()) < tolerance
    assert float(gradient.alpha) == pytest.approx(float(of_alpha), rel=tolerance)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_whole_chain(phantom_corpus: Corpus, tiny_recipe: Recipe, tmp_path, precision):
    recipe = tiny_recipe.model_copy(update={"compute": tiny_recipe.compute.model_copy(update={"precision": precision})})
    trajectories = train_experts(phantom_corpus, recipe, device="cuda")
    made = distill(phantom_corpus, trajectories, recipe, out=tmp_path, device="cuda")
    assert made.provenance["device"] == "cuda"
    evaluation = evaluate(made, phantom_corpus, recipe, out=tmp_path, device="cuda")
    assert len(evaluation.arms) == 3
