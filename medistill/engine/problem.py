"""The problem that the outer loop solves: what is put into its sockets, and what stays as it is while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.engine.coordinates import Coordinate, Values
from medistill.engine.images import Images
from medistill.engine.labels import Labels
from medistill.engine.objectives.base import Objective
from medistill.engine.parameterisations.base import Parameterisation
from medistill.engine.state import State
from medistill.training.device import Precision
from medistill.training.images import LabelledImages
from medistill.training.stages import even_slice, slice_of


@dataclass(frozen=True)
class OuterSettings:
    """How long the loop runs and what it does on the way.

    Attributes:
        iterations: outer steps.
        stages: stages that they are divided over, each with images of its own (PDD).
        former: share of a step by which the images of earlier stages go on; 0 leaves them as they were (PDD).
        together: networks train on the images of all stages from the first, as the objective's students do (nested
            sets); else each stage's images join their training in its turn (PDD).
        sharpness: radius of the sharpness-aware outer step (SATM); 0 is the plain one.
        ema: decay of the moving average that is kept as the result; 0 keeps the images themselves.
        validate_every: outer steps between two validation scores.
        checkpoint_every: outer steps between two saved states.
    """

    iterations: int
    stages: int = 1
    former: float = 0.0
    together: bool = False
    sharpness: float = 0.0
    ema: float = 0.0
    validate_every: int = 100
    checkpoint_every: int = 25

    def stage_of(self, iteration: int) -> int:
        """Return the stage of the outer step after ``iteration`` finished ones."""
        return slice_of(iteration, self.iterations, self.stages)

    def ends_stage(self, finished: int) -> bool:
        """Return whether a stage ends with so many finished outer steps."""
        return finished == even_slice(self.iterations, self.stages, self.stage_of(finished - 1)).stop


@dataclass(frozen=True)
class ValidationScore:
    """How good the images are on the validation split: means over fresh networks."""

    accuracy: float
    auc: float


@dataclass(frozen=True)
class DistillationProblem:
    """What stays as it is while the loop runs.

    Attributes:
        settings: of the loop.
        objective: what the images are compared with.
        parameterisation: what the images are made of.
        labels: what they are labelled with.
        stage: the stage in which each image moves, and after which it moves by `OuterSettings.former` at most.
        precision: of the objective's arithmetic.
        validate: scores images, given the coordinates and the finished outer steps of the run; None takes a stage's
            last images unseen.
        save: writes the state to disk.
        weights: of the images in the loss of networks that are trained on them, mean 1; None weighs all alike.
    """

    settings: OuterSettings
    objective: Objective[Any]
    parameterisation: Parameterisation
    labels: Labels
    stage: Int[Tensor, " N"]
    precision: Precision
    validate: Callable[[LabelledImages, Values, int], ValidationScore] | None
    save: Callable[[State], None]
    weights: Float[Tensor, " N"] | None = None

    @cached_property
    def coordinates(self) -> dict[str, Coordinate]:
        """Everything that moves, by its name."""
        return {
            **self.parameterisation.coordinates(),
            **self.labels.coordinates(),
            **self.objective.coordinates(),
        }

    def images(self, values: Values) -> Images:
        """Return what a network is shown at given coordinates."""
        labels = self.labels.render(values)
        return Images(self.parameterisation.render(values), labels, torch.ones_like(labels[:, 0]))

    def shown(self, iteration: int) -> Int[Tensor, " M"]:
        """Return the rows of the images that take part in an outer step: those of its stage and of the ones before."""
        return self._up_to[self.settings.stage_of(iteration)]

    @cached_property
    def _up_to(self) -> list[Int[Tensor, " M"]]:
        """The rows of the images of each stage and of the ones before; found once, since the device is waited for."""
        return [torch.nonzero(self.stage <= stage).flatten() for stage in range(self.settings.stages)]

    def labelled(self, values: Values, stage: int) -> LabelledImages:
        """Return the images of the stages up to ``stage``, to be trained on."""
        rows = self._up_to[stage]
        return LabelledImages.of_floats(
            self.parameterisation.render(values)[rows],
            self.labels.classes[rows].argmax(dim=1),
            None if self.weights is None else self.weights[rows],
            soft_labels=self.labels.render(values)[rows] if self.labels.soft else None,
            label_kind=self.labels.kind,
            stage=None if self.settings.together else self.stage[rows],
        )
