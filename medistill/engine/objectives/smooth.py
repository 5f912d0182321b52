"""Smooth: an objective with the total variation of the images beside it.

    L + lambda TV
    TV = 1 / (N P) sum over n, p of sqrt( (g[p right] - g[p])^2 + (g[p below] - g[p])^2 + eps^2 ) - eps

g are grey values between 0 and 1, P the values of an image, N the images that take part; beyond the last row and column
the difference is 0 (Rudin, Osher and Fatemi 1992, doi:10.1016/0167-2789(92)90242-F, made smooth at 0).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.artifacts.channels import per_channel
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.coordinates import Values
from medistill.engine.images import Images
from medistill.engine.objectives.around import Around
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.progress import Progress
from medistill.training.device import Precision

EPS = 1e-3
"""Difference of grey values below which the variation is nearly quadratic."""


class Smooth(Around[tuple[Any, Tensor]]):
    """An objective of pixels, with total variation added.

    Args:
        inner: the objective.
        weight: lambda; 0 adds nothing.
        normalisation: of the images.
    """

    def __init__(self, inner: Objective[Any], weight: float, normalisation: Normalisation) -> None:
        super().__init__(inner)
        self.weight, self.std = weight, normalisation.std

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> tuple[Any, Tensor]:
        """Draw what the objective draws, and remember which images take part."""
        return self.inner.draw(iteration, shown), shown

    def evaluate(self, images: Images, learned: Values, drawn: tuple[Any, Tensor], micro_batch: int) -> Evaluation:
        """Return the sum of both losses, and its gradients."""
        inner, shown = drawn
        seen = self.inner.evaluate(images, learned, inner, micro_batch)
        if not self.weight:
            return seen
        std = per_channel(self.std, images.pixels)
        variation, gradient = total_variation(images.pixels[shown] * std)
        grad_images = seen.grad_images.clone()
        grad_images[shown] += self.weight * std * gradient
        return replace(seen, loss=seen.loss + self.weight * variation, grad_images=grad_images)

    def check(
        self, images: Images, drawn: tuple[Any, Tensor], micro_batch: int, precision: Precision, progress: Progress
    ) -> None:
        """Have the objective check its way of computing the gradients."""
        self.inner.check(images, drawn[0], micro_batch, precision, progress)


def total_variation(grey: Float[Tensor, "N C H W"]) -> tuple[float, Float[Tensor, "N C H W"]]:
    """Return TV of the images and its gradient in them, in closed form."""
    right, below = torch.zeros_like(grey), torch.zeros_like(grey)
    right[..., :-1] = grey[..., 1:] - grey[..., :-1]
    below[..., :-1, :] = grey[..., 1:, :] - grey[..., :-1, :]
    length = (right.square() + below.square() + EPS**2).sqrt()
    along_right, along_below = right / length, below / length
    gradient = -along_right - along_below
    gradient[..., 1:] += along_right[..., :-1]
    gradient[..., 1:, :] += along_below[..., :-1, :]
    return float((length - EPS).mean()), gradient / grey.numel()
