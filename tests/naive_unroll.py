"""The oracle of the engine: the unrolled student with the graph of every step alive, left to autograd."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from medistill.engine.images import Images
from medistill.engine.segment import Segment, StudentSteps
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.augmentation import augment, draw

EVERYTHING = AugmentationRecipe(operations=("color", "crop", "cutout", "flip", "scale", "rotate"))


def problem(
    dtype: torch.dtype, *, width: int, channels: int, size: int, count: int, steps: int, depth: int, classes: int = 10
) -> tuple[nn.Module, Segment, Images]:
    """A network, a segment from its start to a point nearby, and ``count`` random images."""
    numbers = torch.Generator().manual_seed(0)
    spec = NetworkSpec(NetworkRecipe(width=width, depth=depth), channels, size, classes)
    network = build_network(spec, numbers).to(dtype)
    start = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    target = start + 0.01 * torch.randn(len(start), generator=numbers, dtype=dtype)
    pixels = torch.randn(count, channels, size, size, generator=numbers, dtype=dtype)
    draws = [draw(EVERYTHING, count, numbers, torch.device("cpu")) for _ in range(steps)]
    batches = [torch.randperm(count, generator=numbers) for _ in range(steps)]
    return (
        network,
        Segment(start, target, StudentSteps(batches, draws)),
        Images(pixels, F.one_hot(torch.arange(count) % classes, classes).to(dtype), torch.ones(count, dtype=dtype)),
    )


def naive_gradient(
    network: nn.Module, segment: Segment, images: Images, alpha: float, importance: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, and its derivatives in the images, in alpha and in one weight a parameter tensor."""
    pixels = images.pixels.clone().requires_grad_()
    rate = torch.tensor(alpha, dtype=pixels.dtype, requires_grad=True)
    named = dict(network.named_parameters())
    sizes = [p.numel() for p in named.values()]
    weights = torch.ones(len(sizes), dtype=pixels.dtype) if importance is None else importance.clone()
    weights.requires_grad_()
    theta = segment.start.clone().requires_grad_()
    for rows, drawn in zip(segment.steps.batches, segment.steps.draws, strict=True):
        parts = {name: part.view(p.shape) for (name, p), part in zip(named.items(), theta.split(sizes), strict=True)}
        logits = functional_call(network, parts, (augment(pixels[rows], drawn),))
        loss = F.cross_entropy(logits, images.labels[rows])
        (step,) = torch.autograd.grad(loss, theta, create_graph=True)
        theta = theta - rate * step
    weight = torch.cat([w.expand(size) for w, size in zip(weights, sizes, strict=True)])
    numerator = (weight * (theta - segment.target)).square().sum()
    matched = numerator / (segment.start - segment.target).square().sum()
    of_pixels, of_rate, of_weights = torch.autograd.grad(matched, (pixels, rate, weights))
    return matched.detach(), of_pixels, of_rate, of_weights
