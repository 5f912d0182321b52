"""Class term: a network takes the distilled images for what they are meant to be.

With p[n] what the network says of image n, augmented as its class is, and share[n, c] = y[n, c] / sum of y[., c],

    L = w sum over classes of sum over n of share[n, c] (-log p[n, c])

which of hard labels is the mean cross-entropy of each class, summed. It stands beside a distance of features (IDM,
DANCE, NCFM): that the features of a class are right on average does not say that each image is known for its class.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.engine.coordinates import Values
from medistill.engine.images import Images
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.objectives.compared_features import slices
from medistill.engine.sources.base import Source
from medistill.recipe import AugmentationRecipe
from medistill.training.augmentation import Draw, augment, draw
from medistill.training.randomness import generator


@dataclass(frozen=True)
class DrawnTerm:
    """What an outer step draws.

    Attributes:
        network: that is asked.
        augmentation: a row of parameters for each class.
        shown: rows of the distilled images that take part.
    """

    network: nn.Module
    augmentation: Draw
    shown: Int[Tensor, " M"]


@dataclass(frozen=True)
class ClassTerm(Objective[DrawnTerm]):
    """The cross-entropy of distilled images.

    Attributes:
        networks: source of the network of a step.
        augmentation: drawn anew for every step, for each class.
        classes: outputs of the network.
        seed: of the run.
        weight: w.
    """

    networks: Source[nn.Module]
    augmentation: AugmentationRecipe
    classes: int
    seed: int
    weight: float = 1.0

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnTerm:
        """Draw a network and an augmentation for each class, another one than features are compared under."""
        rng = generator(self.seed, "augmentation of a class term", iteration)
        return DrawnTerm(
            self.networks.draw(iteration, shown), draw(self.augmentation, self.classes, rng, shown.device), shown
        )

    def evaluate(self, images: Images, learned: Values, drawn: DrawnTerm, micro_batch: int) -> Evaluation:
        """Return the loss and its gradients, in one pass; a class without images has no share in it.

        dL/dy[n, c] = w (-log p[n, c] - sum over m of share[m, c] (-log p[m, c])) / sum of y[., c]
        """
        pixels, labels = images.pixels[drawn.shown], images.labels[drawn.shown]
        total = labels.sum(dim=0)
        there, of_class = total > 0, labels.argmax(dim=1)
        share = torch.where(there, labels / total, 0)
        surprise = torch.zeros_like(labels)
        grad_images, grad_labels = torch.zeros_like(images.pixels), torch.zeros_like(images.labels)
        for rows in slices(len(pixels), micro_batch):
            shown = pixels[rows].detach().requires_grad_()
            logits = drawn.network(augment(shown, drawn.augmentation[of_class[rows]]))
            unlike = -F.log_softmax(logits.to(labels.dtype), dim=1)
            (gradient,) = torch.autograd.grad((share[rows] * unlike).sum(), shown)
            grad_images[drawn.shown[rows]] = self.weight * gradient
            surprise[rows] = unlike.detach()
        of_classes = (share * surprise).sum(dim=0)
        grad_labels[drawn.shown] = torch.where(there, self.weight * (surprise - of_classes) / total, 0)
        return Evaluation(self.weight * float(of_classes.sum()), grad_images, grad_labels, {})
