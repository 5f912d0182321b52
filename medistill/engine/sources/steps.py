"""Student steps: the batches of distilled images and the augmentations that a student's steps train on."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from medistill.engine.segment import StudentSteps
from medistill.recipe import AugmentationRecipe
from medistill.training.augmentation import draw
from medistill.training.device import sent


def batch_size(batch_syn: int, shown: int) -> int:
    """Return how many of the ``shown`` distilled images a student step takes; a ``batch_syn`` of 0 takes all."""
    return min(batch_syn or shown, shown)


def draw_steps(
    shown: Int[Tensor, " M"],
    size: int,
    count: int,
    augmentation: AugmentationRecipe,
    rng: torch.Generator,
    device: torch.device,
) -> StudentSteps:
    """Draw ``count`` steps of ``size`` images: whole batches of shuffle after shuffle, then an augmentation each.

    Args:
        shown: rows of the distilled images that batches are drawn from.
        size: images a step.
        count: steps.
        augmentation: drawn anew for every step.
        rng: decides it all.
        device: where it is put.
    """
    batches: list[Tensor] = []
    while len(batches) < count:
        order = shown[sent(torch.randperm(len(shown), generator=rng), shown.device)]
        batches.extend(rows.to(device) for rows in order.split(size) if len(rows) == size)
    return StudentSteps(batches[:count], [draw(augmentation, size, rng, device) for _ in range(count)])
