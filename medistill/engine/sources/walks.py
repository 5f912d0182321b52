"""Walks: fresh networks, the steps that they take on the distilled images, and the window that is differentiated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.engine.segment import StudentSteps
from medistill.engine.sources.steps import batch_size, draw_steps
from medistill.engine.sources.windows import NormWindow, RandomWindows, WindowRule
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe
from medistill.training.randomness import generator

ANYWHERE = RandomWindows()


@dataclass(frozen=True)
class WalkSettings:
    """Which walks are drawn.

    Attributes:
        steps: student steps, T.
        window: steps that are differentiated, M; a rule may vary it.
        batch_syn: distilled images a student step; 0 takes all.
        pool: students that go on from one outer step to a later one; 0 lets each step begin with a fresh one.
    """

    steps: int
    window: int
    batch_syn: int = 0
    pool: int = 0

    def batch_size(self, shown: int) -> int:
        """Return how many of the ``shown`` distilled images a student step takes."""
        return batch_size(self.batch_syn, shown)


@dataclass(frozen=True)
class DrawnWalk:
    """One walk.

    Attributes:
        start: parameters of the network before it.
        steps: those that it takes, to the end of its window; all of them where that hangs on norms.
        begins: the step with which the window begins.
        member: of the pool, whose turn it is.
        by_norms: what decides on the window in place of ``begins``, once the norms of the gradients are known; None
            where it is known before.
    """

    start: Float[Tensor, " P"]
    steps: StudentSteps
    begins: int
    member: int = 0
    by_norms: NormWindow | None = None


@dataclass(frozen=True)
class Walks:
    """A source of walks.

    Attributes:
        spec: which network.
        settings: which walks are drawn.
        augmentation: drawn anew for every student step.
        seed: of the run.
        device: where it all is put.
        windows: rule by which windows are drawn.
    """

    spec: NetworkSpec
    settings: WalkSettings
    augmentation: AugmentationRecipe
    seed: int
    device: torch.device
    windows: WindowRule = ANYWHERE

    def draw(self, iteration: int, shown: Int[Tensor, " M"], number: int = 0) -> DrawnWalk:
        """Draw the walk of an outer iteration.

        Args:
            iteration: finished outer steps.
            shown: rows of the distilled images that student batches are drawn from.
            number: which of the draws of this iteration.
        """
        settings = self.settings
        rng = generator(self.seed, "walk", iteration, *([number] if number else []))
        network = build_network(self.spec, rng, self.device)
        window = self.windows.draw(settings, iteration, rng)
        by_norms = window if isinstance(window, NormWindow) else None
        begins, count = (0, settings.steps) if isinstance(window, NormWindow) else (window.start, window.stop)
        size = settings.batch_size(len(shown))
        steps = draw_steps(shown, size, count, self.augmentation, rng, self.device)
        member = iteration % settings.pool if settings.pool else 0
        return DrawnWalk(FlatParameters(network).values, steps, begins, member, by_norms)
