"""A segment: what one outer step draws, so that its student steps can be walked forward and back again."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.artifacts.trajectories import Trajectories
from medistill.recipe import DistillRecipe, Recipe
from medistill.training.augmentation import Draw, draw
from medistill.training.randomness import generator
from medistill.training.stages import part, part_of


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
    recipe: Recipe,
    trajectories: Trajectories,
    shown: Int[Tensor, " M"],
    iteration: int,
    device: torch.device,
    number: int = 0,
) -> Segment:
    """Draw a segment of an outer iteration; it depends on the seed, the iteration and its number alone.

    Args:
        shown: rows of the distilled images that student batches are drawn from.
        number: which of the iteration's segments.
    """
    settings = recipe.distill
    numbers = generator(recipe.seed, "segment", iteration, *([number] if number else []))
    expert = int(torch.randint(trajectories.count, (), generator=numbers))
    epochs = start_epochs(settings, iteration)
    epoch = epochs[int(torch.randint(len(epochs), (), generator=numbers))]
    start = torch.from_numpy(trajectories.snapshot(expert, epoch)).to(device)
    target = torch.from_numpy(trajectories.snapshot(expert, epoch + settings.expert_epochs)).to(device)
    size = min(settings.batch_syn or len(shown), len(shown))
    batches: list[Tensor] = []
    while len(batches) < settings.syn_steps:
        order = shown[torch.randperm(len(shown), generator=numbers).to(shown.device)]
        batches.extend(rows.to(device) for rows in order.split(size) if len(rows) == size)
    batches = batches[: settings.syn_steps]
    draws = [draw(recipe.augmentation, size, numbers, device) for _ in batches]
    return Segment(start, target, batches, draws)


def start_epochs(settings: DistillRecipe, iteration: int) -> range:
    """Snapshots that an outer iteration may start from.

    Each stage has its own part of ``min_start_epoch`` .. ``max_start_epoch - 1`` (PDD). Within a stage the range grows
    linearly from the first snapshot of that part to all, over the first ``start_growth`` of the stage's steps (DATM).
    """
    stage = part_of(iteration, settings.iterations, settings.stages)
    epochs = part(settings.max_start_epoch - settings.min_start_epoch, settings.stages, stage)
    steps = part(settings.iterations, settings.stages, stage)
    grown = (iteration - steps.start) / (settings.start_growth * len(steps)) if settings.start_growth else 1.0
    width = 1 + int(min(grown, 1.0) * (len(epochs) - 1))
    first = settings.min_start_epoch + epochs.start
    return range(first, first + width)
