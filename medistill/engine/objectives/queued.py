"""Queued: mean features in the eyes of networks that learn meanwhile, which also ask each image for its class (IDM).

With a the accuracy in training of the network that sees the images, in percent, and CE the class term,

    L = sum over classes c of  | mean phi(A T_c) - mean phi(A S_c) |^2  +  beta a CE_c

so that a network has its say on classes as far as it knows them (Zhao, Li, Qin, Yu 2023).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Int
from torch import Tensor

from medistill.engine.coordinates import Coordinate, Values
from medistill.engine.images import Images
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.objectives.class_term import ClassTerm, DrawnTerm
from medistill.engine.objectives.compared_features import ComparedFeatures, DrawnFeatures
from medistill.engine.objectives.summed import added
from medistill.engine.sources.queue import Learning, Queue


@dataclass(frozen=True)
class DrawnQueue:
    """What an outer step draws.

    Attributes:
        seeing: number of the network that sees the images.
        learning: those that learn afterwards.
        features: what features are compared with; its network is the one that sees the images, as it joined.
    """

    seeing: int
    learning: Learning
    features: DrawnFeatures


@dataclass(frozen=True)
class Queued(Objective[DrawnQueue]):
    """The loss of IDM. Features and classes are asked for under the same augmentation.

    Attributes:
        queue: source of the networks.
        features: how features are compared, in the eyes of networks of the queue.
        term: of classes.
        weight: beta; 0 asks no network for classes.
    """

    queue: Queue
    features: ComparedFeatures
    term: ClassTerm
    weight: float

    unstable = "queue.lr"

    def coordinates(self) -> dict[str, Coordinate]:
        """Return the queue."""
        return self.queue.coordinates()

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnQueue:
        """Draw who sees the images and who learns, originals, and an augmentation for each class."""
        queue = self.queue
        return DrawnQueue(queue.seeing(iteration), queue.learning(iteration), self.features.draw(iteration, shown))

    def evaluate(self, images: Images, learned: Values, drawn: DrawnQueue, micro_batch: int) -> Evaluation:
        """Return the loss and its gradients, and the queue after its networks have learned."""
        network, accuracy = self.queue.now(learned, drawn.seeing, drawn.features.network)
        seen = replace(drawn.features, network=network)
        parts = [(1.0, self.features.evaluate(images, learned, seen, micro_batch))]
        if self.weight * accuracy:
            asked = DrawnTerm(network, seen.augmentation, seen.shown)
            parts.append((self.weight * accuracy, self.term.evaluate(images, learned, asked, micro_batch)))
        return replace(added(parts), grad_learned=self.queue.after(learned, drawn.learning, micro_batch))

    def batch_size(self, shown: int) -> int:
        """Return how many images pass a network at once, a batch that it learns from among them."""
        return max(self.features.batch_size(shown), self.queue.settings.batch)
