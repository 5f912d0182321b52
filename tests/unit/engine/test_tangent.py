"""The tangent of an unrolled student, against finite differences and against the walk back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from medistill.engine.images import Images
from medistill.engine.inner_optimisers import MomentumSGD, PlainSGD, Rates, StudentState
from medistill.engine.segment import StudentSteps
from medistill.engine.student import Student
from medistill.engine.tangent import tangent
from medistill.engine.unroll import Unroll
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.augmentation import draw

CPU, COUNT, CLASSES = torch.device("cpu"), 6, 3
EVERYTHING = AugmentationRecipe(operations=("color", "crop", "cutout", "flip", "scale", "rotate"))


class Walk:
    """A student in float64, four steps on four of six images each, and a direction in all of them."""

    def __init__(self, name: str = "convnet", micro_batch: int = 3, dtype: torch.dtype = torch.float64) -> None:
        numbers = torch.Generator().manual_seed(0)
        network = build_network(NetworkSpec(NetworkRecipe(name=name, width=4, depth=2), 3, 32, CLASSES), numbers)
        network = network.to(dtype)
        shape = (COUNT, 3, 32, 32)
        self.direction = torch.randn(shape, generator=numbers, dtype=torch.float64).to(dtype)
        pixels = torch.randn(shape, generator=numbers, dtype=torch.float64).to(dtype)
        labels = torch.randn(COUNT, CLASSES, generator=numbers, dtype=torch.float64).softmax(1).to(dtype)
        self.images = Images(pixels, labels, torch.ones(COUNT, dtype=dtype))
        self.steps = StudentSteps(
            [torch.randperm(COUNT, generator=numbers)[:4] for _ in range(4)],
            [draw(EVERYTHING, 4, numbers, CPU) for _ in range(4)],
        )
        self.start = FlatParameters(network).values.clone()
        self.end_gradient = torch.randn(self.start.shape, generator=numbers, dtype=torch.float64).to(dtype)
        self.unroll = Unroll(Student(network), PlainSGD(), Rates(0.05), micro_batch)

    def states(self, images: Images | None = None) -> list[StudentState]:
        return self.unroll.forward(images or self.images, StudentState(self.start), self.steps)

    def tangent(self, direction: torch.Tensor | None = None) -> torch.Tensor:
        along = self.direction if direction is None else direction
        return tangent(self.unroll, self.images, self.states(), self.steps, along)


def test_it_is_that_of_finite_differences() -> None:
    walk, h = Walk(), 1e-6
    ends = [
        walk.states(replace(walk.images, pixels=walk.images.pixels + sign * h * walk.direction))[-1].theta
        for sign in (1, -1)
    ]
    found, differences = walk.tangent(), (ends[0] - ends[1]) / (2 * h)
    assert float((found - differences).norm() / differences.norm()) < 1e-6


@pytest.mark.parametrize("name", ["convnet", "alexnet"])
def test_forward_and_back_are_transposes_of_each_other(name: str) -> None:
    walk = Walk(name)
    back = walk.unroll.back(walk.images, walk.states(), walk.steps, walk.end_gradient)
    forward, backward = torch.dot(walk.end_gradient, walk.tangent()), (back.images * walk.direction).sum()
    assert float(forward) == pytest.approx(float(backward), rel=1e-12)


def test_it_does_not_depend_on_the_micro_batch() -> None:
    torch.testing.assert_close(Walk(micro_batch=1).tangent(), Walk(micro_batch=4).tangent(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", [1e-12, 1e6])
def test_in_single_precision_the_size_of_the_direction_costs_no_digits(size: float) -> None:
    single, exact = Walk(dtype=torch.float32), Walk().tangent()
    found = single.tangent(size * single.direction).double() / size
    assert float((found - exact).norm() / exact.norm()) < 1e-4


def test_no_direction_moves_nothing() -> None:
    walk = Walk()
    assert not walk.tangent(torch.zeros_like(walk.direction)).any()


def test_a_student_that_moves_otherwise_is_refused() -> None:
    walk = Walk()
    walk.unroll = replace(walk.unroll, optimiser=MomentumSGD())
    with pytest.raises(ValueError, match="plain SGD, not of MomentumSGD"):
        tangent(walk.unroll, walk.images, [StudentState(walk.start)], walk.steps, F.relu(walk.direction))
