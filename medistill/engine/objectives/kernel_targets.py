"""Kernel targets: the ridge regression of the distilled images' features answers for originals as a teacher sees them.

With f = [phi, 1], phi the input of the last layer of a network out of a pool, held fixed, s of the N distilled images,
t of the b originals, g(x_t) the D features of a frozen teacher and Y the learned target vectors (N, D),

    K_ab = f_a f_b^T,   lambda = ridge tr K_ss, held still
    L = 1 / (b D) sum over t of | K_ts (K_ss + lambda)^-1 Y - g(x_t) |^2

(KRR-ST; Lee et al. 2024, arXiv:2310.06511). The networks of the pool are trained on the distilled images and
their target vectors, a step of SGD on |f(x) - y|^2 / D at a time (`medistill.engine.objectives.pooled_ridge`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from medistill.engine.objectives.pooled_ridge import PooledRidge
from medistill.engine.ridge_solution import RidgeSolution, solve_held
from medistill.training.images import LabelledImages
from medistill.training.squared_error import mean_squares


@dataclass(frozen=True, kw_only=True)
class KernelTargets(PooledRidge):
    """The error on originals of the kernel ridge regression to target vectors; their source gives those of originals in
    the place of soft labels (`medistill.engine.sources.taught_originals`)."""

    def truth(self, originals: LabelledImages) -> Float[Tensor, "B D"]:
        """Return what the teacher sees in originals.

        Raises:
            TypeError: they have no target vectors.
        """
        if originals.soft_labels is None:
            raise TypeError("originals without target vectors")
        return originals.soft_labels.double()

    def solved(self, phi: Float[Tensor, "N F"], values: Float[Tensor, "N D"]) -> RidgeSolution:
        """Return the solution under a share of the kernel's trace, held still."""
        return solve_held(phi, values, self.ridge)

    def count(self, errors: Float[Tensor, "B D"]) -> float:
        """Return half the numbers: of all squared errors the mean is taken."""
        return errors.numel() / 2

    def lessons(self, outputs: Float[Tensor, "B D"], values: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Return the means of the squares."""
        return mean_squares(outputs, values)

    def regressors(self, phi: Float[Tensor, "N F"]) -> Float[Tensor, "N F1"]:
        """Return the features, and a 1 behind those of each image."""
        return torch.cat([phi, torch.ones_like(phi[:, :1])], dim=1)
