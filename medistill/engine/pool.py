"""A pool of students on their way: the next window of one begins where its last one ended.

Else every outer step would walk a fresh network to its window, and forget it. What a member has behind it was walked on
the images of earlier outer steps; they change little in the meantime. Members lie in the state of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from medistill.engine.coordinates import Coordinate, TakenOver, Values
from medistill.engine.inner_optimisers import StudentState


@dataclass(frozen=True)
class Pool:
    """Students, each with the steps that it has behind it; one without any is replaced by a fresh network.

    Attributes:
        members: how many.
        parameters: of a student, P.
        moments: vectors that its optimiser remembers, m.
        steps: most steps of a student, T.
        window: steps that it takes at a time, M.
        device: where they are kept.
    """

    members: int
    parameters: int
    moments: int
    steps: int
    window: int
    device: torch.device

    def coordinates(self) -> dict[str, Coordinate]:
        """Return the members (K, 1 + m, P) and the steps that they have behind them (K,), all 0."""
        members = torch.zeros(self.members, 1 + self.moments, self.parameters, device=self.device)
        ages = torch.zeros(self.members, dtype=torch.int64)
        return {"pool": Coordinate(members, TakenOver()), "pool_steps": Coordinate(ages, TakenOver())}

    def member(self, values: Values, number: int) -> tuple[StudentState, int] | None:
        """Return a member and the steps that it has behind it; None where a fresh network takes its place."""
        steps = int(values["pool_steps"][number])
        if not steps:
            return None
        theta, *moments = values["pool"][number].unbind()
        return StudentState(theta, tuple(moments)), steps

    def after(self, values: Values, number: int, state: StudentState, steps: int) -> Mapping[str, Tensor]:
        """Return the pool with a member where its window ended, after so many steps; one that has no room for another
        window makes way."""
        members, ages = values["pool"].clone(), values["pool_steps"].clone()
        members[number] = torch.stack([state.theta, *state.moments])
        ages[number] = steps if steps + self.window <= self.steps else 0
        return {"pool": members, "pool_steps": ages}

    def without(self, values: Values, number: int) -> Mapping[str, Tensor]:
        """Return the pool with a fresh network to come in a member's place."""
        members, ages = values["pool"].clone(), values["pool_steps"].clone()
        members[number], ages[number] = 0, 0
        return {"pool": members, "pool_steps": ages}
