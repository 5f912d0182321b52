"""LAMB: Adam whose step is as long as a share of what it moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medistill.engine.coordinates import Moments


@dataclass(frozen=True)
class Lamb:
    """LAMB (You et al. 2020, arXiv:1904.00962) of one tensor, without weight decay.

    m' = b1 m + (1 - b1) g,  s' = b2 s + (1 - b2) g^2,  u = (m' / (1 - b1^n)) / (sqrt(s' / (1 - b2^n)) + eps),
    z' = z - lr (|z| / |u|) u, n the number of the step from 1; where |z| or |u| is 0 the ratio is 1.

    Attributes:
        lr: learning rate.
        first: b1.
        second: b2.
        eps: added to the root.
        steps: over which the rate falls to 0 by half a cosine; 0 keeps it.
    """

    lr: float
    first: float = 0.9
    second: float = 0.999
    eps: float = 1e-6
    steps: int = 0

    def moments(self, value: Tensor) -> Moments:
        """Return zeros."""
        return {
            "mean": torch.zeros_like(value),
            "square": torch.zeros_like(value),
            "count": torch.zeros((), dtype=torch.float64),
        }

    def update(self, value: Tensor, gradient: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        """Return the coordinate and its moments after a step."""
        count = float(moments["count"]) + 1
        mean = self.first * moments["mean"] + (1 - self.first) * gradient
        square = self.second * moments["square"] + (1 - self.second) * gradient.square()
        root = (square / (1 - self.second**count)).sqrt() + self.eps
        direction = mean / (1 - self.first**count) / root
        length, reach = torch.stack([torch.linalg.vector_norm(one) for one in (value, direction)]).tolist()
        ratio = length / reach if length and reach else 1.0
        lr = self.lr * (1 + math.cos(math.pi * min(1.0, (count - 1) / self.steps))) / 2 if self.steps else self.lr
        return value - lr * ratio * direction, {
            "mean": mean,
            "square": square,
            "count": torch.tensor(count, dtype=torch.float64),
        }
