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
from medistill.training.device import sent


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
    counted: Float[Tensor, " P"] | None = None,
) -> Match:
    """Compare the student's end with the expert's.

    Args:
        end: theta_J.
        segment: start and target.
        importance: w of each group.
        sizes: parameters of each group, in the order in which they lie in theta.
        mask: 1 for each parameter that is matched, 0 for the others; None matches all.
        counted: the same for parameters that are left out of the denominator as well.
    """
    error, scale = _error(end, segment, mask, counted)
    of_group = _of_group(error.square(), sizes)
    weight = importance.repeat_interleave(sent(sizes, importance.device), output_size=len(end))
    loss = (importance.square() * of_group).sum() / scale
    return Match(loss, 2 * weight.square() * error / scale, 2 * importance * of_group / scale)


def gradient_along(
    end: Float[Tensor, " P"],
    moved: Float[Tensor, " P"],
    segment: Segment,
    importance: Float[Tensor, " G"],
    sizes: Int[Tensor, " G"],
    mask: Float[Tensor, " P"] | None = None,
) -> Float[Tensor, " G"]:
    """Return how dL/dw of each group changes as theta_J moves: 4 w <theta_J - theta_{i+K}, moved> of the group / c.

    Args:
        end: theta_J.
        moved: d theta_J, its tangent along some direction.
        segment: as for `match`, and so are the others.
        importance: w of each group.
        sizes: parameters of each group.
        mask: of the parameters that are matched, which stays as it is.
    """
    error, scale = _error(end, segment, mask)
    return 4 * importance * _of_group(error * moved, sizes) / scale


def _error(end: Tensor, segment: Segment, mask: Tensor | None, counted: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return theta_J - theta_{i+K} where it is matched, and c."""
    error, moved = end - segment.target, (segment.start - segment.target).square()
    for left in (mask, counted):
        if left is not None:
            error = error * left
    return error, (moved if counted is None else moved * counted).sum()


def _of_group(values: Float[Tensor, " P"], sizes: Int[Tensor, " G"]) -> Float[Tensor, " G"]:
    """Return the sum over each group."""
    scalar = len(sizes) == len(values)
    return values if scalar else torch.stack([part.sum() for part in values.split(sizes.tolist())])
