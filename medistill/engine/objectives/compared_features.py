"""Compared features: what objectives share in which each class of the distilled images is compared with its originals,
in the eyes of one network.

With phi the input of the network's last layer, A the augmentation that a class draws, T the originals, S the distilled
images and y their labels, an image counts in class c by

    share[n, c] = y[n, c] / sum of y[., c]

and L is some distance of the features of A T_c and A S_c, summed over the classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
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
        iteration: finished outer steps.
        network: phi and the layer after it.
        originals: a batch of each class.
        augmentation: a row of parameters for each class, alike for its originals and its distilled images.
        shown: rows of the distilled images that take part.
    """

    iteration: int
    network: nn.Module
    originals: LabelledImages
    augmentation: Draw
    shown: Int[Tensor, " M"]

    def seen(self, images: Float[Tensor, "B C H W"], labels: Int[Tensor, " B"]) -> Float[Tensor, "B F"]:
        """Return the features of images, augmented as their classes are; gradients flow."""
        return features(self.network, augment(images, self.augmentation[labels]))


@dataclass(frozen=True)
class Shared:
    """Images of which each has a share in every class.

    Attributes:
        images: with the class as which each is augmented.
        share: of each in every class; those of a class add up to 1, or are 0 where it is not compared.
        known: the features of all of them; None where they are still to be seen.
    """

    images: LabelledImages
    share: Float[Tensor, "B classes"]
    known: Float[Tensor, "B F"] | None = None

    @torch.no_grad()
    def seen(self, drawn: DrawnFeatures, micro_batch: int) -> Iterator[tuple[slice, Float[Tensor, "b F"]]]:
        """Yield the features in micro-batches, without a graph, with the rows that they are of."""
        if self.known is not None:
            yield slice(0, len(self.images)), self.known
            return
        for rows in slices(len(self.images), micro_batch):
            yield rows, drawn.seen(self.images.batch(rows).to(self.share.dtype), self.images.labels[rows])


@dataclass(frozen=True)
class Distance:
    """A distance between images and originals, settled by a first pass.

    Attributes:
        loss: L.
        gradients: from rows of the images, and their features, to dL/dphi[n] and to dL/dshare[n, c] less its mean in
            the class, the sum over m of share[m, c] dL/dshare[m, c].
    """

    loss: float
    gradients: Callable[[slice, Float[Tensor, "b F"]], tuple[Float[Tensor, "b F"], Float[Tensor, "b classes"]]]


@dataclass(frozen=True)
class ComparedFeatures(Objective[DrawnFeatures]):
    """Such an objective, with its exact gradient in the memory of one micro-batch; it writes `distance`.

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
            iteration,
            self.networks.draw(iteration, shown),
            self.originals.draw(iteration, shown),
            draw(self.augmentation, self.classes, rng, shown.device),
            shown,
        )

    @abstractmethod
    def distance(self, made: Shared, real: Shared, drawn: DrawnFeatures, micro_batch: int) -> Distance:
        """Take the first pass, without a graph.

        Args:
            made: the distilled images that take part.
            real: the originals.
            drawn: in whose eyes.
            micro_batch: images that pass the network at once.
        """

    def evaluate(self, images: Images, learned: Values, drawn: DrawnFeatures, micro_batch: int) -> Evaluation:
        """Return the loss and its gradients, in two passes.

        The first settles the cotangent of every image's features, which the second pulls back to its pixels, a
        micro-batch at a time. Where all images are one micro-batch the first keeps what the second needs. A label moves
        the shares of its class alone:

            dL/dy[n, c] = (dL/dshare[n, c] - sum over m of share[m, c] dL/dshare[m, c]) / sum of y[., c]
        """
        pixels, labels, originals = images.pixels[drawn.shown], images.labels[drawn.shown], drawn.originals
        there = F.one_hot(originals.labels, self.classes).to(labels.dtype)
        compared = there.sum(dim=0) > 0
        total = torch.where(compared, labels.sum(dim=0), 1)
        share, of_class = compared * labels / total, labels.argmax(dim=1)

        def graph(rows: slice) -> tuple[Tensor, Tensor]:
            """Return images, and their features with the way back to them."""
            shown = pixels[rows].detach().requires_grad_()
            return shown, drawn.seen(shown, of_class[rows])

        whole = graph(slice(None)) if len(pixels) <= micro_batch else None
        known = None if whole is None else whole[1].detach()
        made = Shared(LabelledImages.of_floats(pixels, of_class), share, known)
        real = Shared(originals, there / there.sum(dim=0).clamp(min=1))
        distance = self.distance(made, real, drawn, micro_batch)
        grad_images, grad_labels = torch.zeros_like(images.pixels), torch.zeros_like(images.labels)
        for rows in slices(len(pixels), micro_batch):
            shown, seen = graph(rows) if whole is None else whole
            cotangent, along = distance.gradients(rows, seen.detach())
            (gradient,) = torch.autograd.grad(seen, shown, cotangent.to(seen.dtype))
            grad_images[drawn.shown[rows]] = gradient
            grad_labels[drawn.shown[rows]] = along / total
        return Evaluation(distance.loss, grad_images, grad_labels, {})

    def batch_size(self, shown: int) -> int:
        """Return how many images pass a network in a step, at once where there is no micro-batch."""
        return max(shown, self.originals.count)


def product(one: Tensor, other: Tensor) -> Tensor:
    """Return their matrix product in the wider of their precisions, also where layers run in a lower one."""
    wider = torch.promote_types(one.dtype, other.dtype)
    with torch.autocast(one.device.type, enabled=False):
        return one.to(wider) @ other.to(wider)


def slices(count: int, size: int) -> Iterator[slice]:
    """Cut ``count`` rows into slices of at most ``size``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
