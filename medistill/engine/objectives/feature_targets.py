"""Feature targets: every image has features that it is to have, in a space that they are projected into.

With phi the features of an image, A a matrix (D, K), t the target of an image and N the images that take part:

    L  =  1 / (N K) sum over n of | phi(x[n]) A - t[n] |^2
    dL/dphi[n]  =  2 / (N K) (phi(x[n]) A - t[n]) A^T

It has no graph and no network. What sees the images stands around it (`medistill.engine.objectives.encoded`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.engine.coordinates import Values
from medistill.engine.images import Images
from medistill.engine.objectives.base import Evaluation, Objective


@dataclass(frozen=True)
class FeatureTargets(Objective[Tensor]):
    """The mean squared distance of images' features to targets.

    Attributes:
        targets: one for each distilled image.
        matrix: A; None compares the features themselves, K = D.
    """

    targets: Float[Tensor, "N K"]
    matrix: Float[Tensor, "D K"] | None = None

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> Tensor:
        """Draw nothing: the rows that take part are all that an evaluation needs."""
        return shown

    def evaluate(self, images: Images, learned: Values, drawn: Tensor, micro_batch: int) -> Evaluation:
        """Return the loss at features, which stand in the place of pixels, (N, D), and its gradient in them."""
        features = images.pixels
        there = features[drawn] if self.matrix is None else features[drawn] @ self.matrix.to(features.dtype)
        apart = there - self.targets[drawn].to(features.dtype)
        cotangent = 2 * apart / apart.numel()
        gradient = torch.zeros_like(features)
        gradient[drawn] = cotangent if self.matrix is None else cotangent @ self.matrix.T.to(features.dtype)
        return Evaluation(float(apart.square().mean()), gradient, torch.zeros_like(images.labels), {})
