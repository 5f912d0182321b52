"""Mean features: to a network, the distilled images of each class look on average as its originals do (DM).

With phi the input of the network's last layer, A the augmentation that a class draws, T the originals and S the
distilled images:

    L = sum over classes c of | mean phi(A T_c) - mean phi(A S_c) |^2

It sums over the features, so the images' learning rate goes with their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.engine.coordinates import Values
from medistill.engine.images import Images
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.sources.base import Source
from medistill.engine.sources.originals import Originals
from medistill.networks.features import features
from medistill.recipe import AugmentationRecipe
from medistill.training.augmentation import Draw, augment, draw
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator


@dataclass(frozen=True)
class DrawnFeatures:
    """What an outer step compares with, and in whose eyes.

    Attributes:
        network: phi and the layer after it.
        originals: a batch of each class.
        augmentation: a row of parameters for each class, alike for its originals and its distilled images.
        shown: rows of the distilled images that take part.
    """

    network: nn.Module
    originals: LabelledImages
    augmentation: Draw
    shown: Int[Tensor, " M"]


@dataclass(frozen=True)
class MeanFeatures(Objective[DrawnFeatures]):
    """The loss of distribution matching, with its exact gradient in the memory of one micro-batch.

    Attributes:
        networks: source of the network of a step.
        originals: source of what it compares with.
        augmentation: drawn anew for every step; one operation for all classes, where one is drawn.
        classes: outputs of the network; those that no distilled image has are not compared.
        seed: of the run.
    """

    networks: Source[nn.Module]
    originals: Originals
    augmentation: AugmentationRecipe
    classes: int
    seed: int

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnFeatures:
        """Draw a network, originals and an augmentation for each class."""
        rng = generator(self.seed, "augmentation of a class", iteration)
        return DrawnFeatures(
            self.networks.draw(iteration, shown),
            self.originals.draw(iteration, shown),
            draw(self.augmentation, self.classes, rng, shown.device),
            shown,
        )

    def evaluate(self, images: Images, learned: Values, drawn: DrawnFeatures, micro_batch: int) -> Evaluation:
        """Return the loss and its gradients, in two passes.

        With share[n, c] = y[n, c] / sum of y[., c], m[c] = sum of share[n, c] phi[n] and t[c] the originals' mean:

            dL/dphi[n]  = 2 sum over c of share[n, c] (m[c] - t[c])
            dL/dy[n, c] = 2 <m[c] - t[c], phi[n] - m[c]> / sum of y[., c]

        The first pass takes the means, without a graph. They settle the cotangent of every image's features, which
        the second pulls back to its pixels, a micro-batch at a time.
        """
        pixels, labels, originals = images.pixels[drawn.shown], images.labels[drawn.shown], drawn.originals
        there = F.one_hot(originals.labels, self.classes).to(labels.dtype)
        compared = there.sum(dim=0) > 0
        total = torch.where(compared, labels.sum(dim=0), 1)
        share, of_class = compared * labels / total, labels.argmax(dim=1)
        means = _means(drawn, LabelledImages.of_floats(pixels, of_class), share, micro_batch)
        apart = means - _means(drawn, originals, there / there.sum(dim=0).clamp(min=1), micro_batch)
        grad_images, grad_labels = torch.zeros_like(images.pixels), torch.zeros_like(images.labels)
        for rows in _slices(len(pixels), micro_batch):
            shown = pixels[rows].detach().requires_grad_()
            seen = features(drawn.network, augment(shown, drawn.augmentation[of_class[rows]]))
            cotangent = 2 * _product(share[rows], apart)
            (gradient,) = torch.autograd.grad(seen, shown, cotangent.to(seen.dtype))
            along = _product(seen.detach(), apart.T) - (means * apart).sum(dim=1)
            grad_images[drawn.shown[rows]] = gradient
            grad_labels[drawn.shown[rows]] = 2 * along / total
        return Evaluation(float(apart.square().sum()), grad_images, grad_labels, {})

    def batch_size(self, shown: int) -> int:
        """Return how many images pass a network in a step, at once where there is no micro-batch."""
        return max(shown, self.originals.count)


@torch.no_grad()
def _means(
    drawn: DrawnFeatures, images: LabelledImages, share: Float[Tensor, "B classes"], micro_batch: int
) -> Float[Tensor, "classes F"]:
    """Return the sums of the features of augmented images, each by its share in every class."""
    parts = []
    for rows in _slices(len(images), micro_batch):
        shown = images.batch(rows).to(share.dtype)
        seen = features(drawn.network, augment(shown, drawn.augmentation[images.labels[rows]]))
        parts.append(_product(share[rows].T, seen))
    return torch.stack(parts).sum(dim=0)


def _product(one: Tensor, other: Tensor) -> Tensor:
    """Return their matrix product in the wider of their precisions, also where layers run in a lower one."""
    wider = torch.promote_types(one.dtype, other.dtype)
    with torch.autocast(one.device.type, enabled=False):
        return one.to(wider) @ other.to(wider)


def _slices(count: int, size: int) -> Iterator[slice]:
    """Cut ``count`` rows into slices of at most ``size``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
