"""Mean features: to a network, the distilled images of each class look on average as its originals do (DM).

With phi the input of the network's last layer, A the augmentation that a class draws, T the originals and S the
distilled images:

    L = sum over classes c of | mean phi(A T_c) - mean phi(A S_c) |^2

It sums over the features, so the images' learning rate goes with their number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from medistill.engine.objectives.compared_features import ComparedFeatures, Distance, DrawnFeatures, Shared, product


@dataclass(frozen=True)
class MeanFeatures(ComparedFeatures):
    """The loss of distribution matching."""

    def distance(self, made: Shared, real: Shared, drawn: DrawnFeatures, micro_batch: int) -> Distance:
        """Take the means.

        With m[c] = sum of share[n, c] phi[n] and t[c] the originals' mean:

            dL/dphi[n]      = 2 sum over c of share[n, c] (m[c] - t[c])
            dL/dshare[n, c] = 2 <m[c] - t[c], phi[n]>
        """
        means = _means(made, drawn, micro_batch)
        apart = means - _means(real, drawn, micro_batch)

        def gradients(rows: slice, seen: Tensor) -> tuple[Tensor, Tensor]:
            cotangent = 2 * product(made.share[rows], apart)
            along = product(seen, apart.T) - (means * apart).sum(dim=1)
            return cotangent, 2 * along

        return Distance(float(apart.square().sum()), gradients)


def _means(shown: Shared, drawn: DrawnFeatures, micro_batch: int) -> Float[Tensor, "classes F"]:
    """Return the sums of the features of augmented images, each by its share in every class."""
    parts = [product(shown.share[rows].T, seen) for rows, seen in shown.seen(drawn, micro_batch)]
    return torch.stack(parts).sum(dim=0)
