"""Linear gradient: a random linear layer on an encoder's features asks of the images what it asks of originals (LGM).

With phi the features less a centre and divided by a spread, Y labels as probabilities, s the share of each image in a
mean in which every class counts alike, and W a random matrix (classes, D), drawn anew each outer step:

    p  =  softmax(phi W^T)
    G  =  gradient in W of the cross-entropy  =  sum over n of s[n] (p[n] - y[n]) phi[n]^T
    L  =  1 - <G_T, G_S> / (|G_T| |G_S|)

over originals T and distilled images S (Cazenavette, Torralba and Sitzmann 2025, arXiv:2511.16674). No second
derivative of a network is needed. With V = dL/dG_S:

    V  =  (cos G_S / |G_S| - G_T / |G_T|) / |G_S|
    dL/dphi[n]  =  s[n] ( (p[n] - y[n]) V  +  (p[n] * u[n] - p[n] <p[n], u[n]>) W ),    u[n] = V phi[n]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.engine.coordinates import Values
from medistill.engine.images import Images
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.sources.base import Source
from medistill.engine.sources.encoded_originals import EncodedBatch, class_shares
from medistill.training.device import sent
from medistill.training.randomness import generator

TINY = 1e-30
"""Added to norms that are divided by."""


@dataclass(frozen=True)
class DrawnLayer:
    """What an outer step compares with, and by which layer.

    Attributes:
        weight: W.
        originals: their features.
        shown: rows of the distilled images that take part.
    """

    weight: Float[Tensor, "classes D"]
    originals: EncodedBatch
    shown: Int[Tensor, " M"]


@dataclass(frozen=True, eq=False)
class LinearGradient(Objective[DrawnLayer]):
    """The loss of linear gradient matching, with its exact gradient in closed form, in float64.

    Attributes:
        originals: source of what is compared with.
        classes: outputs of the layer.
        centre: (D,) subtracted from features.
        spread: (D,) that they are then divided by, above 0.
        scale: deviation of a logit of features whose squares have the mean 1.
        seed: of the run.
    """

    originals: Source[EncodedBatch]
    classes: int
    centre: Float[Tensor, " D"]
    spread: Float[Tensor, " D"]
    scale: float
    seed: int

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnLayer:
        """Draw a layer and originals."""
        rng, width = generator(self.seed, "linear layer", iteration), len(self.centre)
        weight = torch.randn(self.classes, width, generator=rng).double() * (self.scale / math.sqrt(width))
        return DrawnLayer(sent(weight, shown.device), self.originals.draw(iteration, shown), shown)

    def evaluate(self, images: Images, learned: Values, drawn: DrawnLayer, micro_batch: int) -> Evaluation:
        """Return the loss at features, which stand in the place of pixels, (N, D), and its gradient in them."""
        features, labels = images.pixels[drawn.shown].double(), images.labels[drawn.shown].double()
        phi, share = (features - self.centre) / self.spread, class_shares(labels.argmax(dim=1))
        there = drawn.originals
        truth = torch.nn.functional.one_hot(there.labels, self.classes).double()
        wanted, _ = _gradient((there.features - self.centre) / self.spread, truth, there.share, drawn.weight)
        found, p = _gradient(phi, labels, share, drawn.weight)
        norm, size, product = torch.stack([wanted.norm(), found.norm(), (wanted * found).sum()]).tolist()
        norm, size = norm + TINY, size + TINY
        cosine = product / (norm * size)
        v = (cosine * found / size - wanted / norm) / size
        u = phi @ v.T
        along = p * u - p * (p * u).sum(dim=1, keepdim=True)
        cotangent = share[:, None] * ((p - labels) @ v + along @ drawn.weight) / self.spread
        gradient = torch.zeros_like(images.pixels)
        gradient[drawn.shown] = cotangent.to(gradient.dtype)
        return Evaluation(1 - cosine, gradient, torch.zeros_like(images.labels), {})


def _gradient(
    phi: Float[Tensor, "B D"],
    labels: Float[Tensor, "B classes"],
    share: Float[Tensor, " B"],
    weight: Float[Tensor, "classes D"],
) -> tuple[Float[Tensor, "classes D"], Float[Tensor, "B classes"]]:
    """Return G and p."""
    p = torch.softmax(phi @ weight.T, dim=1)
    return (share[:, None] * (p - labels)).T @ phi, p
