"""Inner optimisers: how a student moves along its gradient, and how a derivative goes back through such a step.

With g_t the gradient of the student's loss at theta_t and s_t what the optimiser remembers,

    (theta_{t+1}, s_{t+1}) = F(theta_t, s_t, g_t)

and with the derivatives of the outer loss in theta_{t+1} and s_{t+1}, the costate, the chain rule gives those in
theta_t and s_t but for the way through g_t, and dL/dg_t itself. The Hessian takes that one further, in
`medistill.engine.unroll`. Nothing here knows the network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from medistill.training.sgd import accumulate_


@dataclass(frozen=True)
class StudentState:
    """A student between two of its steps; the same record holds derivatives of the outer loss in it, the costate.

    Attributes:
        theta: its parameters.
        moments: what its optimiser remembers, a tensor like theta each.
    """

    theta: Float[Tensor, " P"]
    moments: tuple[Float[Tensor, " P"], ...] = ()


@dataclass(frozen=True)
class Rates:
    """What of an inner optimiser may be learned.

    Attributes:
        alpha: learning rate.
        momentum: share of the velocity that stays; no use to those that have none.
    """

    alpha: float
    momentum: float = 0.0


@dataclass(frozen=True)
class StepBack:
    """How the derivatives go back through one step. The gradient's is ``scale * direction``, so that a caller can
    multiply by the Hessian first and scale after.

    Attributes:
        direction: of dL/dg_t.
        scale: of it.
        costate: dL/dtheta_t without the way through g_t, and dL/ds_t.
        alpha: dL/dalpha of this step; None where it is minus the inner product of g_t and the direction.
        momentum: dL/dmomentum of this step; None where there is none.
    """

    direction: Float[Tensor, " P"]
    scale: float
    costate: StudentState
    alpha: Float[Tensor, ""] | None = None
    momentum: Float[Tensor, ""] | None = None


class InnerOptimiser(ABC):
    """A rule by which students move.

    Attributes:
        moments: how many vectors it remembers.
    """

    moments: int = 0

    def start(self, theta: Float[Tensor, " P"]) -> StudentState:
        """Return a student before its first step: nothing is remembered."""
        return StudentState(theta, tuple(torch.zeros_like(theta) for _ in range(self.moments)))

    @abstractmethod
    def step(self, before: StudentState, gradient: Float[Tensor, " P"], rates: Rates, number: int) -> StudentState:
        """Return the student after a step.

        Args:
            before: the student; it stays as it is.
            gradient: g_t; overwritten.
            rates: of the step.
            number: of the step in the student's life, from 0.
        """

    @abstractmethod
    def back(
        self, before: StudentState, after: StudentState, costate: StudentState, rates: Rates, number: int
    ) -> StepBack:
        """Take the derivatives back through a step.

        Args:
            before: theta_t and s_t.
            after: theta_{t+1} and s_{t+1}.
            costate: the outer loss's derivatives in them.
            rates: as for `step`.
            number: as for `step`.
        """


@dataclass(frozen=True)
class PlainSGD(InnerOptimiser):
    """theta' = theta - alpha g."""

    def step(self, before: StudentState, gradient: Float[Tensor, " P"], rates: Rates, number: int) -> StudentState:
        """Return the student after a step."""
        return StudentState(gradient.mul_(-rates.alpha).add_(before.theta))

    def back(
        self, before: StudentState, after: StudentState, costate: StudentState, rates: Rates, number: int
    ) -> StepBack:
        """Take the derivatives back: dL/dg = -alpha lambda."""
        return StepBack(costate.theta, -rates.alpha, costate)


@dataclass(frozen=True)
class MomentumSGD(InnerOptimiser):
    """v' = momentum v + g + decay theta,  theta' = theta - alpha v'.

    Attributes:
        weight_decay: L2 penalty.
    """

    weight_decay: float = 0.0
    moments = 1

    def step(self, before: StudentState, gradient: Float[Tensor, " P"], rates: Rates, number: int) -> StudentState:
        """Return the student after a step."""
        gradient.add_(before.theta, alpha=self.weight_decay)
        velocity = accumulate_(before.moments[0].clone(), gradient, rates.momentum)
        return StudentState(before.theta - rates.alpha * velocity, (velocity,))

    def back(
        self, before: StudentState, after: StudentState, costate: StudentState, rates: Rates, number: int
    ) -> StepBack:
        """Take the derivatives back: with mu = dL/dv', dL/dg = mu, dL/dv = momentum mu, dL/dtheta gains decay mu."""
        of_velocity = costate.moments[0] - rates.alpha * costate.theta
        return StepBack(
            of_velocity,
            1.0,
            StudentState(costate.theta + self.weight_decay * of_velocity, (rates.momentum * of_velocity,)),
            alpha=-torch.dot(after.moments[0], costate.theta),
            momentum=torch.dot(before.moments[0], of_velocity),
        )


@dataclass(frozen=True)
class Adam(InnerOptimiser):
    """Adam (Kingma and Ba 2015), with its corrections for the first steps.

    m' = b1 m + (1 - b1) g,  s' = b2 s + (1 - b2) g^2,
    theta' = theta - alpha (m' / (1 - b1^n)) / (sqrt(s' / (1 - b2^n)) + eps), n the number of the step from 1.

    Where s' is 0 no gradient ever came, and none goes back.

    Attributes:
        first: b1.
        second: b2.
        eps: added to the root.
    """

    first: float = 0.9
    second: float = 0.999
    eps: float = 1e-8
    moments = 2

    def step(self, before: StudentState, gradient: Float[Tensor, " P"], rates: Rates, number: int) -> StudentState:
        """Return the student after a step."""
        mean = self.first * before.moments[0] + (1 - self.first) * gradient
        square = self.second * before.moments[1] + (1 - self.second) * gradient.square()
        return StudentState(before.theta - rates.alpha * self._move(mean, square, number), (mean, square))

    def back(
        self, before: StudentState, after: StudentState, costate: StudentState, rates: Rates, number: int
    ) -> StepBack:
        """Take the derivatives back through the root and both means; g is had from m' and m."""
        mean, square = after.moments
        gradient = (mean - self.first * before.moments[0]) / (1 - self.first)
        shrunk, root = 1 - self.first ** (number + 1), self._root(square, number)
        below = root + self.eps
        along = -rates.alpha * costate.theta / below
        of_mean = costate.moments[0] + along / shrunk
        steepness = 2 * root * (1 - self.second ** (number + 1))  # d(s')/d(root)
        of_root = -along * mean / (shrunk * below)
        of_square = costate.moments[1] + torch.where(square > 0, of_root / steepness, 0)
        return StepBack(
            (1 - self.first) * of_mean + 2 * (1 - self.second) * gradient * of_square,
            1.0,
            StudentState(costate.theta, (self.first * of_mean, self.second * of_square)),
            alpha=-torch.dot(mean / (shrunk * below), costate.theta),
        )

    def _root(self, square: Tensor, number: int) -> Tensor:
        return (square / (1 - self.second ** (number + 1))).sqrt()

    def _move(self, mean: Tensor, square: Tensor, number: int) -> Tensor:
        return mean / (1 - self.first ** (number + 1)) / (self._root(square, number) + self.eps)
