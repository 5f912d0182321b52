"""The rates of a student that are learned with the images: alpha by its logarithm, the momentum by its logit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medistill.engine.coordinates import Coordinate, Range, UpdateRule, Values
from medistill.engine.inner_optimisers import Rates
from medistill.engine.unroll import Gradient

ALPHA_LIMIT = 1e3
"""Times its initial value that alpha may reach."""


@dataclass(frozen=True)
class LearnedRates:
    """Where a student's rates start and how they move.

    Attributes:
        start: before the first outer step.
        rule: how log alpha moves, and the momentum's logit.
        momentum: whether the momentum is learned.
    """

    start: Rates
    rule: UpdateRule
    momentum: bool = False

    def coordinates(self) -> dict[str, Coordinate]:
        """Return log alpha, and the momentum's logit where it is learned."""
        first = self.start.alpha

        def growth(log_alpha: Tensor) -> float:
            return float(log_alpha.exp()) / first

        sentence = "the student's learning rate is {:.3g} times its first value"
        reach = Range("student_lr_lr", growth, ALPHA_LIMIT, sentence, growth)
        log_alpha = Coordinate(torch.tensor(math.log(first), dtype=torch.float64), self.rule, reach)
        if not self.momentum:
            return {"log_alpha": log_alpha}
        logit = torch.tensor(self.start.momentum, dtype=torch.float64).logit()
        return {"log_alpha": log_alpha, "momentum_logit": Coordinate(logit, self.rule)}

    def at(self, learned: Values) -> Rates:
        """Return the rates at given coordinates."""
        momentum = float(learned["momentum_logit"].sigmoid()) if self.momentum else self.start.momentum
        return Rates(float(learned["log_alpha"].exp()), momentum)

    def gradients(self, rates: Rates, gradient: Gradient) -> dict[str, Tensor]:
        """Return the gradients in the coordinates from those in the rates."""
        found = {"log_alpha": (rates.alpha * gradient.alpha.double()).cpu()}
        if self.momentum:
            slope = rates.momentum * (1 - rates.momentum)
            found["momentum_logit"] = (slope * gradient.momentum.double()).cpu()
        return found

    def figures(self, learned: Values) -> dict[str, float]:
        """Return what the history keeps of them."""
        rates = self.at(learned)
        return {"student_lr": rates.alpha, **({"student_momentum": rates.momentum} if self.momentum else {})}
