"""Gradients: the distilled images of each class ask of a network what its originals ask (DC, DSA, DCC, DosCond, IDC).

With theta the network of an outer step, T_c originals and S_c the distilled images of class c, A_c the augmentation
that the class draws, alike for both, and D a distance of gradients (`medistill.engine.distances`):

    r_c  =  gradient in theta of the mean cross-entropy of A_c T_c,    s_c  =  that of A_c S_c
    L    =  sum over classes of D(r_c, s_c),    or D(sum of r_c, sum of s_c) where classes are summed first

(Zhao, Mopuri and Bilen 2021, arXiv:2006.05929; summed first: Lee et al. 2022, arXiv:2202.02916). D is of weights, the
tensors of two dimensions and more; biases and the weights of norms are left out.

The gradient is exact. r and s settle v = dD/ds in closed form, and then

    dL/dX  =  d<s(X), v>/dX,    dL/dY  =  d<s(X), v>/dY,

a second derivative without its half in theta, which falls into micro-batches as s itself does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from medistill.engine.check import check_derivatives
from medistill.engine.coordinates import Coordinate, Values
from medistill.engine.derivative import Batch, GradientGraph, loss_and_gradient
from medistill.engine.distances import DistanceName, distance
from medistill.engine.images import Images
from medistill.engine.loops import DrawnNetwork, Loops
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.segment import Segment, StudentSteps
from medistill.engine.sources.originals import Originals
from medistill.engine.student import Student
from medistill.progress import Progress
from medistill.recipe import AugmentationRecipe
from medistill.training.augmentation import Draw, augment, draw
from medistill.training.device import Precision, sent
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator


@dataclass(frozen=True)
class DrawnGradients:
    """What an outer step compares with, and in whose eyes.

    Attributes:
        network: whose gradients are compared.
        originals: a batch of each class.
        augmentation: a row of parameters for each class, alike for its originals and its distilled images.
        shown: rows of the distilled images that take part.
    """

    network: DrawnNetwork
    originals: LabelledImages
    augmentation: Draw
    shown: Int[Tensor, " M"]


@dataclass(frozen=True)
class _Group:
    """The images of one class, or of all where classes are summed first, and what they ask for.

    Attributes:
        pixels: of distilled images, before augmentation.
        rows: where they lie among all distilled images.
        labels: their probabilities.
        weights: in the mean over the images of their class.
        of_class: the class that each is made for.
        wanted: r.
    """

    pixels: Float[Tensor, "B C H W"]
    rows: Int[Tensor, " B"]
    labels: Float[Tensor, "B classes"]
    weights: Float[Tensor, " B"]
    of_class: Int[Tensor, " B"]
    wanted: Sequence[Tensor]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class GradientMatching(Objective[DrawnGradients]):
    """The loss of gradient matching, with its exact gradient in the memory of one micro-batch.

    Attributes:
        loops: whose gradients are compared, and how long.
        originals: source of what they are compared with.
        augmentation: drawn anew for every step; one operation for all classes, where one is drawn.
        classes: outputs of the network; those that no distilled image has are not compared.
        seed: of the run.
        device: where the network is kept.
        distance: of two gradients.
        convolutions: compare the kernels of convolutions alone, where the network has any.
        summed: sum the gradients over the classes before they are compared.
    """

    loops: Loops
    originals: Originals
    augmentation: AugmentationRecipe
    classes: int
    seed: int
    device: torch.device
    distance: DistanceName = "cosine"
    convolutions: bool = False
    summed: bool = False

    unstable_students = "network_lr"

    def coordinates(self) -> dict[str, Coordinate]:
        """Return the network, where a step goes on with that of the step before."""
        return self.loops.coordinates(self.device)

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnGradients:
        """Draw a network, originals and an augmentation for each class."""
        rng = generator(self.seed, "augmentation of gradients", iteration)
        return DrawnGradients(
            self.loops.draw(iteration, shown),
            self.originals.draw(iteration, shown),
            draw(self.augmentation, self.classes, rng, shown.device),
            shown,
        )

    def evaluate(self, images: Images, learned: Values, drawn: DrawnGradients, micro_batch: int) -> Evaluation:
        """Return the loss and its gradients; not usable where the network left the finite numbers in its training."""
        network = self.loops.state(drawn.network, learned, images, micro_batch)
        student, parts = drawn.network.student, self._parts(drawn.network.student, network.theta)
        loss = images.pixels.new_zeros(())
        grad_images, grad_labels = torch.zeros_like(images.pixels), torch.zeros_like(images.labels)
        for group in self._groups(student, parts, images, drawn, micro_batch):
            value, of_images, of_labels = self._compared(student, parts, group, drawn.augmentation, micro_batch)
            loss += value
            grad_images[group.rows], grad_labels[group.rows] = of_images, of_labels
        usable = bool(torch.isfinite(network.theta).all())
        return Evaluation(float(loss), grad_images, grad_labels, self.loops.after(drawn.network, network), usable)

    def _parts(self, student: Student, theta: Float[Tensor, " P"]) -> list[Tensor]:
        """Return the parameter tensors, of which those that are compared ask for a gradient."""
        dimensions = [len(shape) for shape in student.shapes]
        least = 3 if self.convolutions and max(dimensions) > 2 else 2
        parts = student.parts(theta)
        return [part.requires_grad_(count >= least) for part, count in zip(parts, dimensions, strict=True)]

    def _groups(
        self, student: Student, parts: Sequence[Tensor], images: Images, drawn: DrawnGradients, micro_batch: int
    ) -> Iterator[_Group]:
        """Yield what is compared, class by class, or all classes at once."""
        device, of_class = images.pixels.device, images.labels[drawn.shown].argmax(dim=1)
        ours, theirs = of_class.cpu(), drawn.originals.labels.cpu()  # all that the device is waited for
        count, there = (torch.bincount(labels, minlength=self.classes) for labels in (ours, theirs))
        compared = (count > 0) & (there > 0)
        ids = torch.nonzero(compared).flatten().tolist()
        masks = [compared] if self.summed else [F.one_hot(torch.tensor(c), self.classes).to(compared) for c in ids]
        for mask in masks:
            places = sent(torch.nonzero(mask[ours]).flatten(), device)
            rows, its_class = drawn.shown[places], of_class[places]
            asked = sent(torch.nonzero(mask[theirs]).flatten(), device)
            yield _Group(
                images.pixels[rows],
                rows,
                images.labels[rows],
                images.weights[rows] / sent(count, device)[its_class],
                its_class,
                self._wanted(student, parts, drawn, asked, sent(there, device), micro_batch),
            )

    def _wanted(
        self,
        student: Student,
        parts: Sequence[Tensor],
        drawn: DrawnGradients,
        rows: Int[Tensor, " B"],
        counts: Int[Tensor, " classes"],
        micro_batch: int,
    ) -> list[Tensor]:
        """Return r of some classes, the sum over them of the gradients of their originals.

        Args:
            student: the network.
            parts: its parameter tensors.
            drawn: of the outer step.
            rows: of the originals of these classes.
            counts: originals of every class.
            micro_batch: images that pass the network at once.
        """
        originals, dtype = drawn.originals, parts[0].dtype

        def batches() -> Iterator[Batch]:
            for some in rows.split(micro_batch):
                of_class = originals.labels[some]
                shown = augment(originals.batch(some).to(dtype), drawn.augmentation[of_class])
                yield Batch(shown, F.one_hot(of_class, self.classes).to(dtype), 1 / counts[of_class].to(dtype))

        return _summed(student, parts, batches())

    def _compared(
        self, student: Student, parts: Sequence[Tensor], group: _Group, augmentation: Draw, micro_batch: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the distance of a group, and its gradients in images and labels.

        Where the group passes at once its graph is kept until v is known; else it passes twice, a micro-batch at a
        time.
        """
        if len(group) <= micro_batch:
            shown, batch = self._batch(group, slice(None), augmentation)
            graph = GradientGraph.of(student, parts, batch, "value")
            value, v = distance(self.distance, group.wanted, [one.detach() for one in graph.gradients])
            return value, *_pulled_back(graph, shown, batch, v)
        pieces = [slice(start, start + micro_batch) for start in range(0, len(group), micro_batch)]
        found = _summed(student, parts, (self._batch(group, rows, augmentation)[1] for rows in pieces))
        value, v = distance(self.distance, group.wanted, found)
        made = []
        for rows in pieces:
            shown, batch = self._batch(group, rows, augmentation)
            made.append(_pulled_back(GradientGraph.of(student, parts, batch, "graph"), shown, batch, v))
        return value, torch.cat([one for one, _ in made]), torch.cat([one for _, one in made])

    def _batch(self, group: _Group, rows: slice, augmentation: Draw) -> tuple[Tensor, Batch]:
        """Return some pixels of a group, and the batch that augmentation makes of them, with the graph between."""
        shown = group.pixels[rows].detach().requires_grad_()
        augmented = augment(shown, augmentation[group.of_class[rows]])
        return shown, Batch(augmented, group.labels[rows], group.weights[rows])

    def check(
        self, images: Images, drawn: DrawnGradients, micro_batch: int, precision: Precision, progress: Progress
    ) -> None:
        """Compare a precision that is not fp32 with it, on one step of the fresh network."""
        start, rng = drawn.network.fresh, generator(self.seed, "direction of a check")
        away = start + torch.randn(len(start), generator=rng).to(start, non_blocking=True)
        segment = Segment(start, away, StudentSteps([drawn.shown], [Draw(())]))
        check_derivatives(drawn.network.student, images, segment, precision, micro_batch, progress)

    def batch_size(self, shown: int) -> int:
        """Return how many images pass a network in a step, at once where there is no micro-batch."""
        training = self.loops.training
        originals = self.originals.count if self.summed else self.originals.most
        return max(shown, originals, training.largest(shown) if training and self.loops.count > 1 else 0)


def _summed(student: Student, parts: Sequence[Tensor], batches: Iterator[Batch]) -> list[Tensor]:
    """Return the gradient in the tensors that are compared, summed over micro-batches, without a graph."""
    total: list[Tensor] = []
    for batch in batches:
        gradients = loss_and_gradient(student, parts, batch)[1]
        total = [a + b for a, b in zip(total, gradients, strict=True)] if total else [*gradients]
    return total


def _pulled_back(
    graph: GradientGraph, shown: Tensor, batch: Batch, v: Sequence[Tensor]
) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B classes"]]:
    """Return d<s, v> in the pixels before augmentation, and in the labels."""
    of_augmented, of_labels = graph.along(v)
    (of_shown,) = torch.autograd.grad(batch.images, shown, of_augmented)
    return of_shown, of_labels
