"""Sharpness-aware descent against NumPy and against a plain loop over named parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from medistill.networks.registry import NetworkSpec, build_network
from medistill.networks.second_order import SecondOrderKernels
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.augmentation import augment, draw
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, train
from medistill.training.randomness import generator
from medistill.training.sharpness import ascent, flat_gradient

SPEC = NetworkSpec(NetworkRecipe(depth=2, width=4), 1, 8, 3)
PLAIN = Schedule(3, 8, 0.1, momentum=0.9, weight_decay=1e-2)


def labelled(dtype: torch.dtype = torch.float64) -> LabelledImages:
    numbers = torch.Generator().manual_seed(1)
    images = torch.randn(21, 1, 8, 8, generator=numbers)
    weights = torch.rand(21, generator=numbers) + 0.5
    return LabelledImages.of_floats(images.to(dtype), torch.arange(21) % 3, weights.to(dtype))


def parameters(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in network.parameters()])


def test_the_two_directions_are_those_of_numpy():
    here, above = np.random.default_rng(0).standard_normal((2, 5, 30))
    up = ascent(torch.from_numpy(here), 0.3).numpy()
    down = flat_gradient(torch.from_numpy(here), torch.from_numpy(above), 0.7).numpy()
    for g, shifted, step, direction in zip(here, above, up, down, strict=True):
        np.testing.assert_allclose(step, 0.3 * g / np.linalg.norm(g), rtol=1e-12)
        across = g - np.dot(g, shifted) / np.linalg.norm(shifted) ** 2 * shifted
        assert abs(np.dot(across, shifted)) < 1e-12
        np.testing.assert_allclose(direction, shifted - 0.7 * across, rtol=1e-9)


def test_a_gradient_of_zero_moves_nothing():
    zero = torch.zeros(4)
    assert torch.equal(ascent(zero, 0.1), zero)
    assert torch.equal(flat_gradient(zero, zero, 1.0), zero)


@pytest.mark.parametrize("augmentation", [AugmentationRecipe(operations=()), AugmentationRecipe()])
@pytest.mark.parametrize(("rho", "alpha"), [(0.2, 0.0), (0.2, 0.6), (0.01, 1.0)])
def test_training_equals_a_loop_over_named_parameters(augmentation, rho, alpha):
    data = labelled()
    schedule = replace(PLAIN, sharpness=rho, surrogate_gap=alpha)
    mine = build_network(SPEC, generator(0, "network")).double()
    train(mine, data, schedule, augmentation, generator(0, "order"), micro_batch=3)

    theirs, numbers = build_network(SPEC, generator(0, "network")).double(), generator(0, "order")
    theta = {name: p.detach().numpy().copy() for name, p in theirs.named_parameters()}
    speed = {name: np.zeros_like(value) for name, value in theta.items()}

    def gradient(at, images, rows):
        leaves = {name: torch.from_numpy(value).requires_grad_() for name, value in at.items()}
        logits = torch.func.functional_call(theirs, leaves, (images,))
        loss = (F.cross_entropy(logits, data.labels[rows], reduction="none") * data.weights[rows]).mean()
        found = torch.autograd.grad(loss, list(leaves.values()))
        return {name: g.numpy() for name, g in zip(leaves, found, strict=True)}

    def dot(a, b):
        return sum(float((a[name] * b[name]).sum()) for name in a)

    for _ in range(3):
        for rows in torch.randperm(21, generator=numbers).split(8):
            images = augment(data.pixels[rows], draw(augmentation, len(rows), numbers, torch.device("cpu")))
            g = gradient(theta, images, rows)
            length = np.sqrt(dot(g, g))
            h = gradient({name: value + rho * g[name] / length for name, value in theta.items()}, images, rows)
            along = dot(g, h) / dot(h, h)
            for name in theta:
                update = h[name] - alpha * (g[name] - along * h[name]) + 1e-2 * theta[name]
                speed[name] = 0.9 * speed[name] + update
                theta[name] = theta[name] - 0.1 * speed[name]
    expected = np.concatenate([value.ravel() for value in theta.values()])
    np.testing.assert_allclose(parameters(mine).numpy(), expected, rtol=1e-9, atol=1e-11)


def test_radius_zero_is_plain_sgd_to_the_bit_and_passes_each_image_once():
    data = labelled(torch.float32)
    mine = build_network(SPEC, generator(0, "network"))
    passed = []
    mine.register_forward_hook(lambda module, inputs, output: passed.append(len(output)))
    settled = replace(PLAIN, sharpness=0.0, surrogate_gap=1.0)
    train(mine, data, settled, AugmentationRecipe(), generator(0, "order"), micro_batch=8)
    assert sum(passed) == 3 * 21

    theirs, numbers = build_network(SPEC, generator(0, "network")), generator(0, "order")
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2, foreach=False)
    for _ in range(3):
        for rows in torch.randperm(21, generator=numbers).split(8):
            images = augment(data.pixels[rows], draw(AugmentationRecipe(), len(rows), numbers, torch.device("cpu")))
            optimiser.zero_grad()
            with SecondOrderKernels():
                logits = theirs(images)
            losses = F.cross_entropy(logits, data.labels[rows], reduction="none")
            (losses @ data.weights[rows] / len(rows)).backward()
            optimiser.step()
    assert torch.equal(parameters(mine), parameters(theirs))

    sharp = build_network(SPEC, generator(0, "network"))
    passed.clear()
    sharp.register_forward_hook(lambda module, inputs, output: passed.append(len(output)))
    train(sharp, data, replace(PLAIN, sharpness=0.1), AugmentationRecipe(), generator(0, "order"), micro_batch=8)
    assert sum(passed) == 2 * 3 * 21
    assert not torch.equal(parameters(sharp), parameters(mine))


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_end_is_flatter_than_that_of_plain_sgd(alpha):
    data, radius = labelled(), 0.2

    def rise(schedule: Schedule) -> float:
        """How much the loss grows by the steepest step of that radius away from the end of training."""
        network = build_network(SPEC, generator(0, "network")).double()
        flat = train(network, data, schedule, AugmentationRecipe(operations=()), generator(0, "o"), micro_batch=21)
        start = flat.values.clone()
        losses = []
        for shift in (torch.zeros_like(start), None):
            flat.load(start + (ascent(flat.gradient, radius) if shift is None else shift))
            flat.gradient.zero_()
            loss = F.cross_entropy(network(data.pixels), data.labels)
            loss.backward()
            losses.append(loss.item())
        return losses[1] - losses[0]

    long = Schedule(60, 21, 0.1)
    plain, sharp = rise(long), rise(replace(long, sharpness=radius, surrogate_gap=alpha))
    assert 0 < sharp < 0.8 * plain
