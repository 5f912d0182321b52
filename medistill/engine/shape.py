"""The shape of a walk: the angles between its start, middle and end, a student's against an expert's (HoP-TM).

With x_0, x_1, x_2 these three, d_ij = x_j - x_i, and 0 in place of the direction of a difference of length 0,

    A[i, j, k] = <d_ij / |d_ij|, d_ik / |d_ik|>,        L = weight * mean over i, j, k of h(A_student - A_expert)

with h the smooth L1 distance, d^2 / 2 below 1 and |d| - 1/2 above (Dong et al. 2025). Of the 27 entries those with
j = i or k = i are 0, and those with j = k are 1 (0 for a side without length, which is a constant and left out here);
each corner's angle is there twice. So three cosines tell all:

    L = 2 weight / 27 * sum over corners of h(c_student - c_expert),    dc/du = (w / |w| - c u / |u|) / |u|

with u and w the two sides that leave a corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

ENTRIES = 27
"""Cosines among the differences of three points, over which the loss is a mean."""
CORNERS = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
"""Each of the points, with the two others."""
Walked = tuple[Float[Tensor, " P"], Float[Tensor, " P"], Float[Tensor, " P"]]
"""Start, middle and end of a walk."""


@dataclass(frozen=True)
class ShapeMatch:
    """The loss of shape.

    Attributes:
        loss: L.
        lambda_middle: dL/d middle of the student.
        lambda_end: dL/d its end.
    """

    loss: Float[Tensor, ""]
    lambda_middle: Float[Tensor, " P"]
    lambda_end: Float[Tensor, " P"]


def match_shape(student: Walked, expert: Walked, weight: float) -> ShapeMatch:
    """Compare two walks.

    Args:
        student: its walk; the start has no part in the gradient.
        expert: its walk.
        weight: of the loss.
    """
    loss, gradients = torch.zeros_like(student[0][0]), [torch.zeros_like(point) for point in student]
    for corner, first, second in CORNERS:
        cosine, of_first, of_second = _cosine(student, corner, first, second)
        apart = cosine - _cosine(expert, corner, first, second)[0]
        loss = loss + F.smooth_l1_loss(apart, torch.zeros_like(apart))
        slope = apart.clamp(-1, 1)
        gradients[first].add_(slope * of_first)
        gradients[second].add_(slope * of_second)
        gradients[corner].sub_(slope * (of_first + of_second))
    scale = 2 * weight / ENTRIES
    return ShapeMatch(scale * loss, scale * gradients[1], scale * gradients[2])


def _cosine(walk: Walked, corner: int, first: int, second: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cosine at a corner, and its derivatives in the two other points; zeros where a side has no length."""
    u, w = walk[first] - walk[corner], walk[second] - walk[corner]
    length_u, length_w = torch.linalg.vector_norm(u), torch.linalg.vector_norm(w)
    there = (length_u > 0) & (length_w > 0)  # decided on the device, which is not waited for
    length_u, length_w = torch.where(there, length_u, 1), torch.where(there, length_w, 1)
    u, w = u / length_u, w / length_w
    cosine = torch.dot(u, w)
    of_u, of_w = (w - cosine * u) / length_u, (u - cosine * w) / length_w
    return torch.where(there, cosine, 0), torch.where(there, of_u, 0), torch.where(there, of_w, 0)
