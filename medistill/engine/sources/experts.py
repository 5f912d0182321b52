"""Experts: pieces of their trajectories, with the batches and augmentations of the student steps that follow them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from medistill.artifacts.trajectories import Trajectories
from medistill.engine.segment import Segment
from medistill.engine.sources.steps import batch_size, draw_steps
from medistill.recipe import AugmentationRecipe
from medistill.training.device import sent
from medistill.training.randomness import generator
from medistill.training.stages import even_slice, slice_of


@dataclass(frozen=True)
class SegmentSettings:
    """Which segments are drawn.

    Attributes:
        syn_steps: student steps, J.
        expert_epochs: expert epochs that they have to match, K.
        min_start_epoch: first snapshot that a segment may start from.
        max_start_epoch: first snapshot after those.
        start_growth: share of a stage's steps over which the range of starts grows from its first snapshot to all.
        batch_syn: distilled images a student step; 0 takes all.
        iterations: outer steps of the run.
        stages: stages that outer steps and starts are divided over.
        middle: whether a segment has the expert's state halfway.
        whole_range: whether each stage has all starts, since its experts are its own.
    """

    syn_steps: int
    expert_epochs: int
    min_start_epoch: int
    max_start_epoch: int
    start_growth: float
    batch_syn: int
    iterations: int
    stages: int
    middle: bool = False
    whole_range: bool = False

    def start_epochs(self, iteration: int) -> range:
        """Return the snapshots that an outer iteration may start from.

        Each stage has its own slice of ``min_start_epoch`` .. ``max_start_epoch - 1``, or all of it where its experts
        are its own (PDD). Within a stage the range grows linearly from the first snapshot of that slice to all, over
        the first ``start_growth`` of the stage's steps (DATM).
        """
        stage = slice_of(iteration, self.iterations, self.stages)
        starts = self.max_start_epoch - self.min_start_epoch
        epochs = range(starts) if self.whole_range else even_slice(starts, self.stages, stage)
        steps = even_slice(self.iterations, self.stages, stage)
        grown = (iteration - steps.start) / (self.start_growth * len(steps)) if self.start_growth else 1.0
        width = 1 + int(min(grown, 1.0) * (len(epochs) - 1))
        first = self.min_start_epoch + epochs.start
        return range(first, first + width)

    def batch_size(self, shown: int) -> int:
        """Return how many of the ``shown`` distilled images a student step takes."""
        return batch_size(self.batch_syn, shown)


@dataclass(frozen=True)
class ExpertSegments:
    """A source of segments.

    Attributes:
        trajectories: the experts.
        settings: which segments are drawn.
        augmentation: drawn anew for every student step.
        seed: of the run.
        device: where segments are put.
    """

    trajectories: Trajectories
    settings: SegmentSettings
    augmentation: AugmentationRecipe
    seed: int
    device: torch.device

    def draw(self, iteration: int, shown: Int[Tensor, " M"], number: int = 0) -> Segment:
        """Draw a segment of an outer iteration; it depends on the seed, the iteration and its number alone.

        Args:
            iteration: finished outer steps.
            shown: rows of the distilled images that student batches are drawn from.
            number: which of the iteration's segments.
        """
        settings, experts = self.settings, self.trajectories
        rng = generator(self.seed, "segment", iteration, *([number] if number else []))
        expert = int(torch.randint(experts.count, (), generator=rng))
        epochs = settings.start_epochs(iteration)
        epoch = epochs[int(torch.randint(len(epochs), (), generator=rng))]
        start, target = self._snapshot(expert, epoch), self._snapshot(expert, epoch + settings.expert_epochs)
        middle = self._snapshot(expert, epoch + settings.expert_epochs // 2) if settings.middle else None
        size = settings.batch_size(len(shown))
        steps = draw_steps(shown, size, settings.syn_steps, self.augmentation, rng, self.device)
        return Segment(start, target, steps, middle)

    def _snapshot(self, expert: int, epoch: int) -> Tensor:
        return sent(torch.from_numpy(self.trajectories.snapshot(expert, epoch)), self.device)
