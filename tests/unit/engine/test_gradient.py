"""The exact gradient against automatic differentiation through all steps, and against finite differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medistill.engine.images import Images
from medistill.engine.matching import match
from medistill.engine.segment import Segment, StudentSteps
from medistill.engine.student import Student
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.augmentation import draw
from tests.factories.networks import PIXEL_NETWORKS
from tests.factories.student_walk import walk, walk_back
from tests.naive_unroll import naive_gradient, problem

SMALL = {"width": 6, "channels": 3, "size": 12, "count": 7, "steps": 4, "depth": 2, "classes": 3}


def exact(network, segment, images, alpha, importance, micro_batch):
    student = Student(network)
    thetas = walk(student, images, alpha, segment, micro_batch)
    sizes = torch.tensor([p.numel() for p in network.parameters()])
    matched = match(thetas[-1], segment, importance, sizes)
    gradient = walk_back(student, images, alpha, segment, thetas, matched.lambda_end, micro_batch)
    return matched, gradient


def relative(mine, reference):
    return float((mine - reference).norm() / reference.norm())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("micro_batch", [1, 3, 100])
def test_equals_automatic_differentiation(dtype, tolerance, micro_batch):
    network, segment, images = problem(dtype, **SMALL)
    count = len(list(network.parameters()))
    importance = torch.linspace(0.5, 1.5, count, dtype=dtype)
    loss, of_pixels, of_alpha, of_weights = naive_gradient(network, segment, images, 0.05, importance)
    matched, gradient = exact(network, segment, images, 0.05, importance, micro_batch)
    assert relative(matched.loss, loss) < tolerance
    assert relative(gradient.images, of_pixels) < tolerance
    assert relative(gradient.alpha, of_alpha) < 10 * tolerance
    assert relative(matched.grad_importance, of_weights) < tolerance


@pytest.mark.parametrize(("dtype", "steps", "tolerance"), [(torch.float64, 50, 1e-12), (torch.float32, 20, 1e-6)])
def test_stays_exact_over_many_steps(dtype, steps, tolerance):
    network, segment, images = problem(dtype, **{**SMALL, "steps": steps})
    ones = torch.ones(len(list(network.parameters())), dtype=dtype)
    _, of_pixels, of_alpha, _ = naive_gradient(network, segment, images, 0.01)
    _, gradient = exact(network, segment, images, 0.01, ones, 3)
    assert relative(gradient.images, of_pixels) < tolerance
    assert relative(gradient.alpha, of_alpha) < 10 * tolerance


def test_equals_finite_differences():
    network, segment, images = problem(torch.float64, **SMALL)
    ones = torch.ones(len(list(network.parameters())), dtype=torch.float64)
    _, gradient = exact(network, segment, images, 0.05, ones, 100)
    direction = torch.randn(images.pixels.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def loss(shift: float, alpha: float) -> float:
        moved = replace(images, pixels=images.pixels + shift * direction)
        return float(exact(network, segment, moved, alpha, ones, 100)[0].loss)

    h = 1e-8  # small, since the student's own gradient jumps where a ReLU switches
    along = (loss(h, 0.05) - loss(-h, 0.05)) / (2 * h)
    assert float((gradient.images * direction).sum()) == pytest.approx(along, rel=1e-4)
    of_alpha = (loss(0, 0.05 + h) - loss(0, 0.05 - h)) / (2 * h)
    assert float(gradient.alpha) == pytest.approx(of_alpha, rel=1e-4)


def test_images_that_several_steps_share_or_none_uses():
    network, segment, images = problem(torch.float64, **SMALL)
    numbers = torch.Generator().manual_seed(2)
    batches = [torch.tensor([0, 1, 2]), torch.tensor([2, 3, 1]), torch.tensor([4, 0, 2])]
    draws = [draw(AugmentationRecipe(), 3, numbers, torch.device("cpu")) for _ in batches]
    shared = Segment(segment.start, segment.target, StudentSteps(batches, draws))
    ones = torch.ones(len(list(network.parameters())), dtype=torch.float64)
    _, of_pixels, *_ = naive_gradient(network, shared, images, 0.05)
    _, gradient = exact(network, shared, images, 0.05, ones, 2)
    assert relative(gradient.images, of_pixels) < 1e-12
    assert not gradient.images[5:].any()


def test_weighted_images_count_as_often_as_their_weight():
    network, segment, images = problem(torch.float64, **{**SMALL, "steps": 1})
    none = [draw(AugmentationRecipe(operations=()), 4, torch.Generator(), torch.device("cpu"))]
    two_copies = Segment(segment.start, segment.target, StudentSteps([torch.tensor([0, 1, 2, 2])], none))
    heavy = Segment(segment.start, segment.target, StudentSteps([torch.tensor([0, 1, 2])], none))
    weights = images.weights.clone()
    weights[:3] = torch.tensor([3 / 4, 3 / 4, 6 / 4], dtype=torch.float64)
    student = Student(network)
    copied = walk(student, images, 0.1, two_copies, 100)[-1]
    weighted = walk(student, replace(images, weights=weights), 0.1, heavy, 100)[-1]
    assert relative(weighted, copied) < 1e-14


@pytest.mark.parametrize("name", PIXEL_NETWORKS)
def test_every_network_can_be_a_student(name):
    size = 32
    spec = NetworkSpec(NetworkRecipe(name=name, width=8), 1, size, 2)
    numbers = torch.Generator().manual_seed(0)
    network = build_network(spec, numbers)
    start = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    target = start + 1e-3 * torch.randn(len(start), generator=numbers)
    draws = [draw(AugmentationRecipe(), 2, numbers, torch.device("cpu"))]
    segment = Segment(start, target, StudentSteps([torch.arange(2)], draws))
    images = Images(torch.randn(2, 1, size, size, generator=numbers), torch.eye(2), torch.ones(2))
    _, of_pixels, *_ = naive_gradient(network, segment, images, 0.01)
    ones = torch.ones(len(list(network.parameters())))
    _, gradient = exact(network, segment, images, 0.01, ones, 1)
    assert relative(gradient.images, of_pixels) < 1e-4


def test_a_network_with_batch_statistics_is_refused():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    with pytest.raises(ValueError, match="batch statistics"):
        Student(network)


class Standardised(torch.nn.Module):
    """A network whose convolutions' weights are made of others, and of which one is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Parameter(torch.empty(4, 1, 3, 3))
        self.shared = torch.nn.Parameter(torch.empty(4, 4, 3, 3))
        self.classifier = torch.nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 1, H, W) -> (N, 3)."""
        weight = self.first / self.first.norm()
        hidden = torch.nn.functional.conv2d(images, weight, padding=1).tanh()
        for _ in range(2):
            hidden = torch.nn.functional.conv2d(hidden, self.shared, padding=1).tanh()
        return self.classifier(hidden.mean(dim=(2, 3)))


def test_a_network_that_makes_its_weights_of_others():
    numbers = torch.Generator().manual_seed(5)
    network = Standardised().double()
    start = torch.randn(sum(p.numel() for p in network.parameters()), generator=numbers, dtype=torch.float64)
    draws = [draw(AugmentationRecipe(), 4, numbers, torch.device("cpu")) for _ in range(3)]
    target = start + 0.1 * torch.randn(start.shape, generator=numbers)
    segment = Segment(start, target, StudentSteps([torch.arange(4)] * 3, draws))
    pixels = torch.randn(4, 1, 8, 8, generator=numbers, dtype=torch.float64)
    images = Images(pixels, torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0]], torch.ones(4, dtype=torch.float64))
    _, of_pixels, of_alpha, _ = naive_gradient(network, segment, images, 0.1)
    ones = torch.ones(len(list(network.parameters())), dtype=torch.float64)
    _, gradient = exact(network, segment, images, 0.1, ones, 3)
    assert relative(gradient.images, of_pixels) < 1e-12
    assert relative(gradient.alpha, of_alpha) < 1e-12
