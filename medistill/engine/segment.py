"""A segment: what one outer step draws, so that its student steps can be walked forward and back again."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.artifacts.trajectories import Trajectories
from medistill.recipe import Recipe
from medistill.training.augmentation import Draw, draw
from medistill.training.randomness import generator


@dataclass(frozen=True)
class Segment:
    """One piece of an expert's trajectory and the student steps that have to match it.

    Attributes:
        start: theta_i of the expert.
        target: theta_{i+K} of the expert.
        batches: J row vectors into the distilled images.
        draws: J augmentation draws.
    """

    start: Float[Tensor, " P"]
    target: Float[Tensor, " P"]
    batches: list[Int[Tensor, " B"]]
    draws: list[Draw]


def draw_segment(
    recipe: Recipe, trajectories: Trajectories, images: int, iteration: int, device: torch.device
) -> Segment:
    """Draw the segment of an outer iteration; it depends on the seed and the iteration alone.

    Args:
        images: number of distilled images.
    """
    settings = recipe.distill
    numbers = generator(recipe.seed, "segment", iteration)
    expert = int(torch.randint(trajectories.count, (), generator=numbers))
    epoch = int(torch.randint(settings.max_start_epoch, (), generator=numbers))
    start = torch.from_numpy(trajectories.snapshot(expert, epoch)).to(device)
    target = torch.from_numpy(trajectories.snapshot(expert, epoch + settings.expert_epochs)).to(device)
    size = min(settings.batch_syn or images, images)
    batches: list[Tensor] = []
    while len(batches) < settings.syn_steps:
        order = torch.randperm(images, generator=numbers)
        batches.extend(rows.to(device) for rows in order.split(size) if len(rows) == size)
    batches = batches[: settings.syn_steps]
    draws = [draw(recipe.augmentation, size, numbers, device) for _ in batches]
    return Segment(start, target, batches, draws)
