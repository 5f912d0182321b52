"""Grey values that move by SGD and stay in their range, for images that are kept normalised."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from medistill.engine.coordinates import Moments, MomentumSGD


@dataclass(frozen=True)
class GreySGD:
    """SGD with momentum on g = s z + m, the grey values of normalised images z in units of full scale, held to [0, 1].

    Its rate is one of grey values: a step of theirs by lr dL/dg is one of z by lr dL/dz / s^2.

    Attributes:
        sgd: on the grey values.
        mean: m.
        std: s.
    """

    sgd: MomentumSGD
    mean: Float[Tensor, "1 C 1 1"]
    std: Float[Tensor, "1 C 1 1"]

    def moments(self, value: Tensor) -> Moments:
        """Return a velocity of zero."""
        return self.sgd.moments(value)

    def update(self, value: Tensor, gradient: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        """Return the normalised images and the velocity of their grey values after a step."""
        grey, after = self.sgd.update(value * self.std + self.mean, gradient / self.std, moments)
        return (grey.clamp(0, 1) - self.mean) / self.std, after
