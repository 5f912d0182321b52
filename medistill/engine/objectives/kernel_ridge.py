"""Kernel ridge: the ridge regression of the distilled images' features answers for originals as their labels do.

With phi the input of the last layer of a network out of a pool, held fixed, s of the N distilled images, t of the b
originals, Y the learned label values, c the classes and y_t = (onehot - 1 / c) / sqrt(c / 10) those of originals,

    K_ab = phi_a phi_b^T,   lambda = ridge tr K_ss / N
    L = 1/2 mean over t of | K_ts (K_ss + lambda)^-1 Y - y_t |^2 - margin mean over s of min(top1 - top2 of Y_s, 1 / c)

(FRePo; Zhou, Nezhadarya, Ba 2022, arXiv:2206.00719). The networks of the pool are trained on the distilled images and
their values, a step of Adam on |f(x) - y|^2 / 2 at a time (`medistill.engine.objectives.pooled_ridge`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from medistill.engine.objectives.pooled_ridge import PooledRidge
from medistill.engine.ridge_solution import RidgeSolution, solve
from medistill.training.images import LabelledImages
from medistill.training.squared_error import squared_errors


@dataclass(frozen=True, kw_only=True)
class KernelRidge(PooledRidge):
    """The error on originals of the kernel ridge regression to label values.

    Attributes:
        classes: outputs of the network, c.
        margin: weight of the labels' margin.
    """

    classes: int
    margin: float = 1.0

    def truth(self, originals: LabelledImages) -> Float[Tensor, "B C"]:
        """Return the values of the originals' classes."""
        return label_values(originals.labels, self.classes)

    def solved(self, phi: Float[Tensor, "N D"], values: Float[Tensor, "N C"]) -> RidgeSolution:
        """Return the solution under a share of the mean of the kernel's diagonal, which moves with it."""
        return solve(phi, values, self.ridge)

    def count(self, errors: Float[Tensor, "B C"]) -> float:
        """Return the originals."""
        return len(errors)

    def lessons(self, outputs: Float[Tensor, "B C"], values: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
        """Return half the squared distances."""
        return squared_errors(outputs, values)

    def of_labels(self, values: Float[Tensor, "M C"]) -> tuple[Tensor | float, Tensor | float]:
        """Return the margin, less than nothing, and its gradient."""
        margin, of_margin = _margin(values, 1 / self.classes)
        return -self.margin * margin, -self.margin * of_margin


def label_values(labels: Int[Tensor, " N"], classes: int) -> Float[Tensor, "N classes"]:
    """Return classes as values that add up to 0, float64 (onehot - 1 / c) / sqrt(c / 10)."""
    return (F.one_hot(labels, classes).double() - 1 / classes) / math.sqrt(classes / 10)


def _margin(values: Float[Tensor, "M classes"], most: float) -> tuple[Float[Tensor, ""], Float[Tensor, "M classes"]]:
    """Return the mean over images of the distance between the two largest values, ``most`` at the most, with its
    gradient; 0 of one class, which has no second."""
    if values.shape[1] < 2:
        return values.new_zeros(()), torch.zeros_like(values)
    top, places = values.topk(2, dim=1)
    apart = top[:, 0] - top[:, 1]
    below = (apart < most).to(values.dtype) / len(values)
    signs = torch.stack([below, -below], dim=1)
    return apart.clamp(max=most).mean(), torch.zeros_like(values).scatter_(1, places, signs)
