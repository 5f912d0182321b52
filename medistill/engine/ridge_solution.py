"""The solution of ridge regression on a few features, found among N samples in place of D features.

With phi (N, D) the features, Y (N, C) what they are to answer, and

    K = phi phi^T,   lambda = ridge tr K / N,   A = (K + lambda)^-1,   B = A Y,   W = phi^T B

the answer to other features t is t W = (t phi^T) B, kernel ridge regression. With E = dL/d(t W) and
P = A phi t^T E = dL/dY there is no graph over the solution, lambda being differentiated too:

    dL/dphi  =  B E^T t - (P B^T + B P^T) phi - 2 <P, B> (ridge / N) phi

All of it is float64, the inverse by Cholesky's factor. A lambda that is held still, ridge tr K without its derivative
(KRR-ST), leaves the last term out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from medistill.errors import DivergedError


@dataclass(frozen=True)
class RidgeSolution:
    """The solution for some features; made by `solve`.

    Attributes:
        phi: float64 (N, D).
        ridge: lambda as a share of the mean of K's diagonal; 0 where it is held still.
        factor: Cholesky's, of K + lambda.
        b: float64 (N, C).
    """

    phi: Float[Tensor, "N D"]
    ridge: float
    factor: Float[Tensor, "N N"]
    b: Float[Tensor, "N C"]

    @cached_property
    def weight(self) -> Float[Tensor, "D C"]:
        """W."""
        return self.phi.T @ self.b

    def back(self, asked: Float[Tensor, "C D"]) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N C"]]:
        """Return dL/dphi and dL/dY, from E^T t."""
        p = torch.cholesky_solve(self.phi @ asked.T, self.factor)
        symmetric = p @ self.b.T
        cotangent = self.b @ asked - (symmetric + symmetric.T) @ self.phi
        if self.ridge:
            cotangent -= 2 * (p * self.b).sum() * self.ridge / len(self.phi) * self.phi
        return cotangent, p


def solve(phi: Float[Tensor, "N D"], targets: Float[Tensor, "N C"], ridge: float) -> RidgeSolution:
    """Return the solution for features and what they are to answer, both float64.

    Args:
        phi: features.
        targets: Y.
        ridge: lambda as a share of the mean of K's diagonal, above 0.

    Raises:
        DivergedError: the kernel matrix is not positive: the features are not finite, or 0 for every image.
    """
    kernel = phi @ phi.T
    return RidgeSolution(phi, ridge, *_solved(kernel, ridge * kernel.trace() / len(kernel), targets))


def solve_held(phi: Float[Tensor, "N D"], targets: Float[Tensor, "N C"], ridge: float) -> RidgeSolution:
    """Return the solution with a lambda that is held still.

    Args:
        phi: features, float64.
        targets: Y, float64.
        ridge: lambda as a share of K's trace, above 0.

    Raises:
        DivergedError: as for `solve`.
    """
    kernel = phi @ phi.T
    return RidgeSolution(phi, 0.0, *_solved(kernel, ridge * kernel.trace(), targets))


def _solved(
    kernel: Float[Tensor, "N N"], lifting: Float[Tensor, ""], targets: Float[Tensor, "N C"]
) -> tuple[Float[Tensor, "N N"], Float[Tensor, "N C"]]:
    """Return Cholesky's factor of K + lambda, and B."""
    lifted = kernel + lifting * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    factor, failed = torch.linalg.cholesky_ex(lifted)
    if not bool((failed == 0) & torch.isfinite(factor).all()):
        raise DivergedError(
            f"the kernel matrix of {len(kernel)} distilled images is not positive",
            expected="finite features, which are not 0 for every image",
            do="raise method.ridge, or lower method.image_lr",
        )
    return factor, torch.cholesky_solve(targets, factor)
