"""The state of a distillation: all that the next outer step depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from medistill.artifacts.making import Chain
from medistill.engine.coordinates import Coordinate, Moments

SKIPPED = "skipped"
"""The figure of the history that tells of skipped steps."""


@dataclass
class History:
    """What happened so far, for the report.

    Attributes:
        loss: of every outer step, all finite: that of a skipped one is the loss of the step before it, and where all
            before it were skipped too, of the first that was not.
        validation_steps: the outer steps after which the validation split was looked at.
        stage: the stage of each of these.
        accuracy: mean accuracy there.
        auc: mean macro AUC there.
        figures: what the objective has to tell, by name: a number after each outer step, or a list of numbers at each
            validation score. ``skipped`` has the numbers of the outer steps that were skipped, where there are any.
    """

    loss: list[float] = field(default_factory=list)
    validation_steps: list[int] = field(default_factory=list)
    stage: list[int] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    auc: list[float] = field(default_factory=list)
    figures: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def skipped(self) -> list[int]:
        """The outer steps that were skipped, counted from 1."""
        return self.figures.get(SKIPPED, [])

    def take(self, loss: float, step: int, *, usable: bool) -> None:
        """Take the loss of an outer step, counted from 1, and whether it was taken or skipped."""
        if usable:
            self.loss.extend([loss] * (step - len(self.loss)))
        else:
            self.loss.extend(self.loss[-1:])
            self.figures.setdefault(SKIPPED, []).append(step)

    def note(self, figures: Mapping[str, Any]) -> None:
        """Take one more of each of the objective's figures."""
        for name, figure in figures.items():
            self.figures.setdefault(name, []).append(figure)

    def best_auc(self, stage: int) -> float | None:
        """Return the best macro AUC of a stage; None before its first."""
        return max((auc for auc, of in zip(self.auc, self.stage, strict=True) if of == stage), default=None)


@dataclass
class State:
    """The coordinates with their optimisers' moments, and the best ones so far.

    Random numbers need no state: each outer step derives its own from the seed and its number.

    Attributes:
        iteration: finished outer steps.
        values: the coordinates, by name.
        moments: what the optimiser remembers of each.
        averages: the moving average of those that have one (the value itself where the settings ask for none).
        best: what the set is made of: every coordinate, or its average, at the best validation score of the present
            stage.
        best_step: the outer step of that score, -1 before the first.
        history: what happened.
        micro_batch: images that pass a network at once, 0 before it is known; a resumed run keeps it.
        chain: seals every state that is saved; None seals nothing.
    """

    iteration: int
    values: dict[str, Tensor]
    moments: dict[str, Moments]
    averages: dict[str, Tensor]
    best: dict[str, Tensor]
    best_step: int
    history: History
    micro_batch: int = 0
    chain: Chain | None = None

    @classmethod
    def start(cls, coordinates: Mapping[str, Coordinate], chain: Chain | None = None) -> State:
        """Return the state before the first outer step."""
        return cls(
            iteration=0,
            values={name: one.start.clone() for name, one in coordinates.items()},
            moments={name: one.rule.moments(one.start) for name, one in coordinates.items()},
            averages={name: one.start.clone() for name, one in coordinates.items() if one.averaged},
            best={name: one.start.clone() for name, one in coordinates.items()},
            best_step=-1,
            history=History(),
            chain=chain,
        )

    @property
    def result(self) -> dict[str, Tensor]:
        """What the set would be made of now: every coordinate, or its average."""
        return {**self.values, **self.averages}

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor of the state by a name of its own: ``pixels``, ``pixels.velocity``, ``pixels.best``."""
        return {
            **self.values,
            **{f"{name}.{moment}": tensor for name, of in self.moments.items() for moment, tensor in of.items()},
            **{f"{name}.average": tensor for name, tensor in self.averages.items()},
            **{f"{name}.best": tensor for name, tensor in self.best.items()},
        }
