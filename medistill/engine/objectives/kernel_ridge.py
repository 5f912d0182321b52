"""Kernel ridge: the ridge regression of the distilled images' features answers for originals as their labels do.

With phi the input of the last layer of a network out of a pool, held fixed, s of the N distilled images, t of the b
originals, Y the learned label values, c the classes and y_t = (onehot - 1 / c) / sqrt(c / 10) those of originals,

    K_ab = phi_a phi_b^T,   lambda = ridge tr K_ss / N
    L = 1/2 mean over t of | K_ts (K_ss + lambda)^-1 Y - y_t |^2 - margin mean over s of min(top1 - top2 of Y_s, 1 / c)

(FRePo; Zhou, Nezhadarya, Ba 2022, arXiv:2206.00719). `medistill.engine.ridge_solution` has the closed gradient through
the solution. The networks of the pool are trained on the distilled images and their values, a step of Adam on
|f(x) - y|^2 / 2 whenever one was asked, and make way for fresh ones at their greatest age.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from medistill.engine.coordinates import Coordinate, Values
from medistill.engine.images import Images
from medistill.engine.inner_optimisers import InnerOptimiser, Rates, StudentState
from medistill.engine.memory import MemoryNeed
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.pool import Pool
from medistill.engine.ridge_solution import solve
from medistill.engine.segment import StudentSteps
from medistill.engine.sources.originals import Originals
from medistill.engine.sources.walks import DrawnWalk, Walks
from medistill.engine.student import Student
from medistill.networks.features import features
from medistill.networks.flat import split
from medistill.training.augmentation import augment
from medistill.training.images import LabelledImages
from medistill.training.squared_error import squared_errors

NEED = MemoryNeed(
    "an outer step",
    "the features of all distilled images and of a batch of originals",
    "lower method.batch_real or method.pool_networks, or choose a smaller network (network.width)",
)


@dataclass(frozen=True)
class DrawnKernel:
    """What an outer step compares with, and in whose eyes.

    Attributes:
        walk: whose turn in the pool it is, a fresh network for its place, and the steps that the network takes.
        originals: a batch of each class.
        shown: rows of the distilled images that take part.
    """

    walk: DrawnWalk
    originals: LabelledImages
    shown: Int[Tensor, " M"]


@dataclass(frozen=True)
class KernelRidge(Objective[DrawnKernel]):
    """The error on originals of the kernel ridge regression, with its exact gradient in the memory of one micro-batch.

    Attributes:
        student: the network as a function.
        walks: source of fresh networks and of training steps, a window of one step each.
        originals: source of what the regression is asked about.
        optimiser: how networks of the pool are trained.
        rates: of it.
        pool: the networks.
        classes: outputs of the network, c.
        ridge: lambda as a share of the mean of K's diagonal, above 0.
        margin: weight of the labels' margin.
        mirrored: whether every distilled image takes part with its mirror image, under the same values.
    """

    student: Student
    walks: Walks
    originals: Originals
    optimiser: InnerOptimiser
    rates: Rates
    pool: Pool
    classes: int
    ridge: float
    margin: float = 1.0
    mirrored: bool = False
    memory: MemoryNeed = NEED

    def coordinates(self) -> dict[str, Coordinate]:
        """Return the pool."""
        return self.pool.coordinates()

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnKernel:
        """Draw whose turn it is, the steps of its training, and originals."""
        return DrawnKernel(self.walks.draw(iteration, shown), self.originals.draw(iteration, shown), shown)

    def evaluate(self, images: Images, learned: Values, drawn: DrawnKernel, micro_batch: int) -> Evaluation:
        """Return the loss and its gradients, in two passes, and the pool after a step of the network that was asked.

        The first pass takes all features, without a graph. They settle the cotangent of each distilled image's, which
        the second pulls back to its pixels, a micro-batch at a time.

        Raises:
            DivergedError: the kernel matrix is not positive: features are not finite, or 0 for every image.
        """
        network, behind = self._network(images, learned, drawn.walk, micro_batch)
        pixels, values = self._with_mirrored(images.pixels[drawn.shown]), images.labels[drawn.shown].double()
        copies = len(pixels) // len(values)
        originals, dtype = drawn.originals, pixels.dtype
        asked = (originals.batch(rows).to(dtype) for rows in _slices(len(originals), micro_batch))
        phi_s = self._seen(network.theta, (pixels[rows] for rows in _slices(len(pixels), micro_batch)))
        phi_t = self._seen(network.theta, asked)
        solution = solve(phi_s, values.repeat(copies, 1), self.ridge)
        errors = phi_t @ solution.weight - label_values(originals.labels, self.classes)
        cotangent, of_values = solution.back(errors.T @ phi_t / len(errors))
        margin, of_margin = _margin(values, 1 / self.classes)
        grad_images, grad_labels = torch.zeros_like(images.pixels), torch.zeros_like(images.labels)
        grad_images[drawn.shown] = self._pulled(network.theta, pixels, cotangent, micro_batch)
        of_labels = of_values.view(copies, *values.shape).sum(dim=0) - self.margin * of_margin
        grad_labels[drawn.shown] = of_labels.to(grad_labels.dtype)
        loss = float(errors.square().sum() / (2 * len(errors)) - self.margin * margin)
        pool = self._trained(images, learned, drawn.walk, network, behind, micro_batch)
        return Evaluation(loss, grad_images, grad_labels, pool)

    def _network(self, images: Images, learned: Values, walk: DrawnWalk, micro_batch: int) -> tuple[StudentState, int]:
        """Return the network whose turn it is, and the steps that it has behind it; a fresh one may first take some."""
        found, dtype = self.pool.member(learned, walk.member), images.pixels.dtype
        if found is not None:
            state, behind = found
            return StudentState(state.theta.to(dtype), tuple(one.to(dtype) for one in state.moments)), behind
        start = self.optimiser.start(walk.start.to(dtype))
        return self._walked(images, start, walk.steps[: walk.begins], 0, micro_batch), walk.begins

    def _trained(
        self, images: Images, learned: Values, walk: DrawnWalk, network: StudentState, behind: int, micro_batch: int
    ) -> Mapping[str, Tensor]:
        """Return the pool after a step of the network; one that leaves the finite numbers makes way for a fresh one."""
        after = self._walked(images, network, walk.steps[walk.begins :], behind, micro_batch)
        if not bool(torch.isfinite(after.theta).all()):
            return self.pool.without(learned, walk.member)
        return self.pool.after(learned, walk.member, after, behind + 1)

    def _walked(
        self, images: Images, state: StudentState, steps: StudentSteps, behind: int, micro_batch: int
    ) -> StudentState:
        """Return a network after some training steps on the distilled images."""
        for number, (rows, augmentation) in enumerate(zip(steps.batches, steps.draws, strict=True), behind):
            gradient = torch.zeros_like(state.theta)
            parts, sums = self.student.parts(state.theta), split(gradient, self.student.shapes)
            for some in _slices(len(rows), micro_batch):
                shown = augment(images.pixels[rows[some]], augmentation[some])
                errors = squared_errors(self.student.logits(parts, shown), images.labels[rows[some]])
                pieces = torch.autograd.grad(errors.sum() / len(rows), parts)
                for into, piece in zip(sums, pieces, strict=True):
                    into.add_(piece)
            state = self.optimiser.step(state, gradient, self.rates, number)
        return state

    @torch.no_grad()
    def _seen(self, theta: Float[Tensor, " P"], batches: Iterable[Float[Tensor, "B C H W"]]) -> Float[Tensor, "N D"]:
        """Return the features of images that come in batches, float64."""
        return torch.cat([self._features(theta, shown).double() for shown in batches])

    def _features(self, theta: Float[Tensor, " P"], shown: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """Return what the last layer of the network with these parameters is given."""
        parts = split(theta, self.student.shapes)
        return features(self.student.network, shown, dict(zip(self.student.names, parts, strict=True)))

    def _pulled(
        self,
        theta: Float[Tensor, " P"],
        pixels: Float[Tensor, "M C H W"],
        cotangent: Float[Tensor, "M D"],
        micro_batch: int,
    ) -> Tensor:
        """Return the gradient in the images from that in the features of them and of their mirror images."""
        gradient = torch.zeros_like(pixels)
        for rows in _slices(len(pixels), micro_batch):
            shown = pixels[rows].detach().requires_grad_()
            seen = self._features(theta, shown)
            (gradient[rows],) = torch.autograd.grad(seen, shown, cotangent[rows].to(seen.dtype))
        if not self.mirrored:
            return gradient
        plain, mirrored = gradient.chunk(2)
        return plain + mirrored.flip(-1)

    def _with_mirrored(self, pixels: Float[Tensor, "M C H W"]) -> Tensor:
        """Return images, and behind them their mirror images where these take part."""
        return torch.cat([pixels, pixels.flip(-1)]) if self.mirrored else pixels

    def batch_size(self, shown: int) -> int:
        """Return how many images pass a network in a step, at once where there is no micro-batch."""
        return max((2 if self.mirrored else 1) * shown, self.originals.count)


def label_values(labels: Int[Tensor, " N"], classes: int) -> Float[Tensor, "N classes"]:
    """Return classes as values that add up to 0, float64 (onehot - 1 / c) / sqrt(c / 10)."""
    return (F.one_hot(labels, classes).double() - 1 / classes) / math.sqrt(classes / 10)


def _margin(values: Float[Tensor, "M classes"], most: float) -> tuple[Float[Tensor, ""], Float[Tensor, "M classes"]]:
    """Return the mean over images of the distance between the two largest values, ``most`` at the most, with its
    gradient; 0 of one class, which has no second."""
    if values.shape[1] < 2:
        return values.new_zeros(()), torch.zeros_like(values)
    top, places = values.topk(2, dim=1)
    apart = top[:, 0] - top[:, 1]
    below = (apart < most).to(values.dtype) / len(values)
    signs = torch.stack([below, -below], dim=1)
    return apart.clamp(max=most).mean(), torch.zeros_like(values).scatter_(1, places, signs)


def _slices(count: int, size: int) -> Iterator[slice]:
    """Cut ``count`` rows into slices of at most ``size``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
