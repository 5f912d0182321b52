"""MMD: to a network, the distilled images of each class are distributed as its originals are (M3D).

With phi the features of a class's augmented originals r and distilled images s, and k a kernel,

    L = sum over classes of  mean k(s, s') - 2 mean k(s, r) + mean k(r, r')

pairs of an image with itself among them: the squared distance of the two means in the space of the kernel, which are
alike only where all moments are, not the first alone (Zhang, Li, Wang et al. 2024). Their kernel is a sum of Gaussians,

    k(a, b) = sum over j = -2 .. 2 of exp(-|a - b|^2 / (2^j w))

where the width w is the mean of |a - b|^2 over the pairs of two of a class's images, originals and distilled ones
together. It is taken anew in every step, and no gradient goes through it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from medistill.engine.objectives.compared_features import ComparedFeatures, Distance, DrawnFeatures, Shared, product
from medistill.training.device import sent

SCALES = (-2, -1, 0, 1, 2)
"""Powers of 2 by which the Gaussians are wider than the mean squared distance."""


@dataclass(frozen=True)
class GaussianMixture:
    """A sum of Gaussians of two images' features, each twice as wide as the one before, by their squared distance.

    Attributes:
        scales: j, by the powers of 2 of which they are wider than the mean squared distance.
    """

    scales: tuple[int, ...] = SCALES

    def value(self, squared: Float[Tensor, "A B"], width: Float[Tensor, ""]) -> Float[Tensor, "A B"]:
        """Return the sum of exp(-d / (2^j w)); ``width`` is w."""
        return torch.stack([torch.exp(squared / (-(2.0**j) * width)) for j in self.scales]).sum(dim=0)

    def slope(self, squared: Float[Tensor, "A B"], width: Float[Tensor, ""]) -> Float[Tensor, "A B"]:
        """Return -sum of exp(-d / (2^j w)) / (2^j w)."""
        parts = [torch.exp(squared / (-(2.0**j) * width)) / (-(2.0**j) * width) for j in self.scales]
        return torch.stack(parts).sum(dim=0)


@dataclass(frozen=True)
class Mmd(ComparedFeatures):
    """The loss of M3D; the features of all images of a step are kept, and the pairs of one class at a time.

    Attributes:
        kernel: by which images are compared.
    """

    kernel: GaussianMixture = GaussianMixture()

    def distance(self, made: Shared, real: Shared, drawn: DrawnFeatures, micro_batch: int) -> Distance:
        """Take the features, and compare them class by class."""
        ours, theirs = _features(made, drawn, micro_batch), _features(real, drawn, micro_batch)
        cotangent, along = torch.zeros_like(ours), torch.zeros_like(made.share)
        loss = torch.zeros((), dtype=ours.dtype, device=ours.device)
        in_ours, in_theirs = (made.share > 0).cpu(), (real.share > 0).cpu()  # all that the device is waited for
        for c in in_theirs.any(dim=0).nonzero().flatten().tolist():
            mine, others = (sent(one[:, c].nonzero().flatten(), ours.device) for one in (in_ours, in_theirs))
            value, pull, heights = self._of_class(
                ours[mine], theirs[others], made.share[mine, c], real.share[others, c]
            )
            loss = loss + value
            cotangent[mine] += pull
            along[mine, c] = heights
        return Distance(float(loss), lambda rows, _: (cotangent[rows], along[rows]))

    def _of_class(
        self,
        ours: Float[Tensor, "S F"],
        theirs: Float[Tensor, "R F"],
        share: Float[Tensor, " S"],
        of_theirs: Float[Tensor, " R"],
    ) -> tuple[Tensor, Float[Tensor, "S F"], Float[Tensor, " S"]]:
        """Return the loss of a class, dL/dphi, and dL/dshare less its mean.

        With a all images, u their shares, those of originals negative, and d their squared distances:

            L           = sum of u[i] u[j] k(d[i, j])
            dL/dphi[i]  = 4 u[i] sum over j of u[j] k'(d[i, j]) (a[i] - a[j])
            dL/du[i]    = 2 sum over j of u[j] k(d[i, j])

        Where the network sees no difference between any two of them, L and its gradients are 0.
        """
        count = len(ours)
        pooled, signed = torch.cat([ours, theirs]), torch.cat([share, -of_theirs])
        pooled = pooled - pooled.mean(dim=0)
        squared = _squared_distances(pooled)
        width = squared.sum() / max(1, len(pooled) * (len(pooled) - 1))
        width = torch.where(width > 0, width, 1)
        heights = product(self.kernel.value(squared, width), signed)
        pull = self.kernel.slope(squared[:count], width) * signed
        apart = pull.sum(dim=1, keepdim=True) * pooled[:count] - product(pull, pooled)
        along = 2 * (heights[:count] - share @ heights[:count])
        return signed @ heights, 4 * share[:, None] * apart, along


def _features(shown: Shared, drawn: DrawnFeatures, micro_batch: int) -> Float[Tensor, "B F"]:
    """Return the features of all images, in the precision of their shares."""
    return torch.cat([seen.to(shown.share.dtype) for _, seen in shown.seen(drawn, micro_batch)])


def _squared_distances(centred: Float[Tensor, "P F"]) -> Float[Tensor, "P P"]:
    """Return |a[i] - a[j]|^2 of rows whose mean is 0, so that little of it is lost to rounding."""
    square = centred.square().sum(dim=1)
    squared = (square[:, None] + square - 2 * product(centred, centred.T)).clamp_(min=0)
    return squared.fill_diagonal_(0)
