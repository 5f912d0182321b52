"""The trajectory-matching loss of IADD and what the rest of the engine needs of it: its derivatives.

    L = || W * (theta_J - theta_{i+K}) ||^2 / || theta_i - theta_{i+K} ||^2

(Li, Togo, Ogawa, Haseyama 2024, with W read as one weight a group of parameters; W = 1 is MTT, Cazenavette et al.
2022.)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.engine.segment import Segment


@dataclass(frozen=True)
class Match:
    """The loss of one segment.

    Attributes:
        loss: L.
        lambda_end: dL/dtheta_J = 2 W^2 (theta_J - theta_{i+K}) / c, with c the denominator.
        grad_importance: dL/dw of each group = 2 w ||error of the group||^2 / c.
    """

    loss: Float[Tensor, ""]
    lambda_end: Float[Tensor, " P"]
    grad_importance: Float[Tensor, " G"]


def match(
    end: Float[Tensor, " P"],
    segment: Segment,
    importance: Float[Tensor, " G"],
    sizes: Int[Tensor, " G"],
    mask: Float[Tensor, " P"] | None = None,
) -> Match:
    """Compare the student's end with the expert's.

    Args:
        end: theta_J.
        segment: start and target.
        importance: w of each group.
        sizes: parameters of each group, in the order in which they lie in theta.
        mask: 1 for each parameter that is matched, 0 for the others; None matches all.
    """
    error = end - segment.target
    if mask is not None:
        error = error * mask
    scale = (segment.start - segment.target).square().sum()
    squares = error.square()
    scalar = len(sizes) == len(error)
    of_group = squares if scalar else torch.stack([part.sum() for part in squares.split(sizes.tolist())])
    weight = importance.repeat_interleave(sizes.to(importance.device), output_size=len(end))
    loss = (importance.square() * of_group).sum() / scale
    return Match(loss, 2 * weight.square() * error / scale, 2 * importance * of_group / scale)
