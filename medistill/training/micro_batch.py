"""How many images pass a network at once: what the recipe says, else what this machine was measured to do best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from medistill.artifacts.cache import cache_root
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import NetworkSpec
from medistill.networks.second_order import SecondOrderKernels
from medistill.networks.tuning import tuned_micro_batch
from medistill.recipe import Recipe
from medistill.training.device import precision
from medistill.training.randomness import generator


def training_micro_batch(network: torch.nn.Module, spec: NetworkSpec, recipe: Recipe, whole: int) -> int:
    """For training on raw images: measured on a forward and a backward pass. ``whole`` is the images of an update."""

    def update(images: torch.Tensor) -> None:
        labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        with SecondOrderKernels():
            logits = network(images)
        torch.autograd.grad(F.cross_entropy(logits, labels), list(network.parameters()))

    return measured_micro_batch("training", update, network, spec, recipe, whole)


def measured_micro_batch(
    kind: str,
    work: Callable[[torch.Tensor], None] | None,
    network: torch.nn.Module,
    spec: NetworkSpec,
    recipe: Recipe,
    whole: int,
) -> int:
    estimate = micro_batch_size(network, spec.channels, spec.image_size, chosen=recipe.compute.micro_batch)
    estimate = min(estimate, whole)
    if recipe.compute.micro_batch or work is None:
        return estimate
    device = next(network.parameters()).device

    def on(count: int) -> None:
        numbers = generator(recipe.seed, "tuning")
        images = torch.randn(count, spec.channels, spec.image_size, spec.image_size, generator=numbers).to(device)
        with precision(recipe.compute.precision, device):
            work(images)
        if device.type == "cuda":
            torch.cuda.synchronize()

    identity: dict[str, Any] = {
        "work": kind,
        "network": spec.name,
        "shapes": [list(p.shape) for p in network.parameters()],
        "image": [spec.channels, spec.image_size],
        "whole": whole,
        "precision": recipe.compute.precision,
        "device": device.type,
    }
    return tuned_micro_batch(estimate, whole, on, identity, cache_root() / "tuning.json")
