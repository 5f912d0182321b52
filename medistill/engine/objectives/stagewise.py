"""Experts anew for each stage: those of a later one begin where networks trained on the images so far end (PDD).

The first stage follows the experts of the run. Before each further stage others are made of its frozen images and of
the rate alpha at which it begins (Chen et al. 2024, as their released code has it). The rates lie in the state of the
run, and the frozen images do: a resumed run makes the same experts again, where it does not find them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from medistill.artifacts.trajectories import Trajectories
from medistill.engine.coordinates import Coordinate, TakenOver, Values
from medistill.engine.images import Images
from medistill.engine.objectives.around import Around
from medistill.engine.objectives.base import Evaluation
from medistill.engine.objectives.trajectory import TrajectoryMatching, student_lr
from medistill.progress import Progress
from medistill.training.device import Precision
from medistill.training.stages import even_slice, slice_of

RATES = "stage_lr"
"""The coordinate that remembers alpha at the beginning of each stage; 0 before it began."""
MakeExperts = Callable[[int, Trajectories, Images, float], Trajectories]
"""From a stage, the experts of the one before it, the images of all stages before it, and alpha, to its experts."""


@dataclass(frozen=True)
class DrawnStage:
    """What an outer step compares with is drawn when its experts are known.

    Attributes:
        iteration: finished outer steps.
        shown: rows of the images that take part.
    """

    iteration: int
    shown: Int[Tensor, " M"]


class Stagewise(Around[DrawnStage]):
    """Trajectory matching with experts of each stage's own.

    Args:
        inner: what it is in the first stage.
        stage: int64 (N,) the stage in which each image that it is shown moves; of tiles, that of their image.
        make: makes experts.
    """

    def __init__(self, inner: TrajectoryMatching, stage: Int[Tensor, " N"], make: MakeExperts) -> None:
        super().__init__(inner)
        self.matching, self.stage, self.make = inner, stage, make
        self.sees_pixels = inner.sees_pixels
        self.iterations, self.stages = inner.source.settings.iterations, inner.source.settings.stages
        self.experts = {0: inner.source.trajectories}

    def coordinates(self) -> dict[str, Coordinate]:
        """Return what the matching learns, and the rates."""
        rates = torch.zeros(self.stages, dtype=torch.float64)
        return {**self.matching.coordinates(), RATES: Coordinate(rates, TakenOver())}

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnStage:
        """Draw nothing yet."""
        return DrawnStage(iteration, shown)

    def evaluate(self, images: Images, learned: Values, drawn: DrawnStage, micro_batch: int) -> Evaluation:
        """Return the loss against the experts of the stage, and its gradients."""
        stage, rates = slice_of(drawn.iteration, self.iterations, self.stages), learned[RATES].clone()
        if drawn.iteration == even_slice(self.iterations, self.stages, stage).start:
            rates[stage] = student_lr(learned)
        matching = self._of(stage, images, rates)
        found = matching.evaluate(images, learned, matching.draw(drawn.iteration, drawn.shown), micro_batch)
        return replace(found, grad_learned={**found.grad_learned, RATES: rates})

    def check(
        self, images: Images, drawn: DrawnStage, micro_batch: int, precision: Precision, progress: Progress
    ) -> None:
        """Have the matching check its derivatives, on experts of the first stage."""
        segments = self.matching.draw(drawn.iteration, drawn.shown)
        self.matching.check(images, segments, micro_batch, precision, progress)

    def _of(self, stage: int, images: Images, rates: Tensor) -> TrajectoryMatching:
        """Return the matching of a stage; its experts, and those of the stages before it, are made where needed."""
        for number in range(1, stage + 1):
            if number not in self.experts:
                former = self.stage < number
                so_far = Images(images.pixels[former], images.labels[former], images.weights[former])
                self.experts[number] = self.make(number, self.experts[number - 1], so_far, float(rates[number]))
        source = replace(self.matching.source, trajectories=self.experts[stage])
        return replace(self.matching, source=source)
