"""Loops: a network that is compared with for several outer steps, and trained between them.

Every ``loops`` outer steps a fresh network takes its place. What the run remembers of it, its parameters and what its
optimiser remembers of them, lies in the state of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from medistill.engine.coordinates import Coordinate, TakenOver, Values
from medistill.engine.images import Images
from medistill.engine.inner_optimisers import InnerOptimiser, PlainSGD, Rates, StudentState
from medistill.engine.segment import StudentSteps
from medistill.engine.sources.base import Source
from medistill.engine.student import Student
from medistill.engine.unroll import Unroll
from medistill.networks.flat import FlatParameters

PLAIN, PUBLISHED = PlainSGD(), Rates(0.01)


@dataclass(frozen=True)
class DrawnTraining:
    """What a network is trained on between two outer steps.

    Attributes:
        steps: its batches.
        originals: that these are of; None where they are of the distilled images.
    """

    steps: StudentSteps
    originals: Images | None = None


class Training(Protocol):
    """Draws what a network is trained on before an outer step that it does not begin with."""

    def largest(self, shown: int) -> int:
        """Return the most images of a step, where ``shown`` distilled images take part."""
        ...

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnTraining | None:
        """Draw for an outer iteration, None where it is not trained; it depends on the seed and the arguments alone.

        Args:
            iteration: finished outer steps.
            shown: rows of the distilled images that take part.
        """
        ...


@dataclass(frozen=True)
class DrawnNetwork:
    """The network of an outer step, before it is known what it has learned.

    Attributes:
        student: the network as a function.
        fresh: parameters that it began with.
        begun: whether a step before was compared with it, after which it is what the run remembers.
        training: what it is trained on since; None leaves it as it was.
    """

    student: Student
    fresh: Float[Tensor, " P"]
    begun: bool
    training: DrawnTraining | None


@dataclass(frozen=True)
class Loops:
    """Which network an outer step is in the eyes of, how long it stays, and how it is trained between.

    Attributes:
        networks: source of fresh ones.
        count: outer steps that a network is compared with; of 1 it is never trained.
        training: what it is trained on; None trains it never.
        optimiser: how it moves.
        rates: of the optimiser.
    """

    networks: Source[nn.Module]
    count: int = 1
    training: Training | None = None
    optimiser: InnerOptimiser = PLAIN
    rates: Rates = PUBLISHED

    def coordinates(self, device: torch.device) -> dict[str, Coordinate]:
        """Return the network (1 + m, P), zeros before the first; none where no step follows another's network."""
        if self.count == 1:
            return {}
        fresh = self.draw(0, torch.arange(0, device=device)).fresh
        start = torch.zeros(1 + self.optimiser.moments, len(fresh), device=device)
        return {"network": Coordinate(start, TakenOver())}

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnNetwork:
        """Draw the network of an outer iteration, and what it is trained on since the one before."""
        number = iteration % self.count
        network = self.networks.draw(iteration - number, shown)
        training = self.training.draw(iteration, shown) if self.training and number else None
        return DrawnNetwork(Student(network), FlatParameters(network).values, number > 0, training)

    def state(self, drawn: DrawnNetwork, learned: Values, images: Images, micro_batch: int) -> StudentState:
        """Return the network of an outer step: a fresh one, or that of the step before and trained since.

        Args:
            drawn: which one.
            learned: the coordinates of the run.
            images: the distilled images as they are now.
            micro_batch: images that pass it at once.
        """
        if not drawn.begun:
            return self.optimiser.start(drawn.fresh)
        theta, *moments = learned["network"].to(drawn.fresh.dtype).unbind()
        state = StudentState(theta, tuple(moments))
        if drawn.training is None:
            return state
        shown = drawn.training.originals or images
        unroll = Unroll(drawn.student, self.optimiser, self.rates, micro_batch)
        return unroll.last(shown, state, drawn.training.steps)

    def after(self, drawn: DrawnNetwork, state: StudentState) -> Mapping[str, Tensor]:
        """Return what the run remembers of the network: as it began, where it left the finite numbers."""
        if self.count == 1:
            return {}
        kept = state if bool(torch.isfinite(state.theta).all()) else self.optimiser.start(drawn.fresh)
        return {"network": torch.stack([kept.theta, *kept.moments])}
