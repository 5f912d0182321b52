"""Pooled ridge: what a network out of a pool sees in the distilled images answers for originals by ridge regression.

With phi the features of such a network, held fixed, s of the N distilled images and t of the b originals, and Y what
the images are labelled with, an objective says what y_t is that the solution

    phi_t phi_s^T (K_ss + lambda)^-1 Y,   K_ss = phi_s phi_s^T

is to be near to, what lambda is, and how the networks of the pool are trained on the images and Y. There is no graph
over the solution (`medistill.engine.ridge_solution`). A network is trained a step whenever it was asked, and makes way
for a fresh one at its greatest age.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.engine.coordinates import Coordinate, Values
from medistill.engine.images import Images
from medistill.engine.inner_optimisers import InnerOptimiser, Rates, StudentState
from medistill.engine.memory import MemoryNeed
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.pool import Pool
from medistill.engine.ridge_solution import RidgeSolution
from medistill.engine.segment import StudentSteps
from medistill.engine.sources.walks import DrawnWalk, Walks
from medistill.engine.student import Student
from medistill.networks.features import features
from medistill.networks.flat import split
from medistill.training.augmentation import augment
from medistill.training.images import LabelledImages

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


class CountedSource(Protocol):
    """A source of originals that knows how many it draws."""

    @property
    def count(self) -> int:
        """How many are drawn for an outer step."""
        ...

    def draw(self, iteration: int, shown: Int[Tensor, " M"], number: int = 0) -> LabelledImages:
        """Draw the batches of an outer iteration (`medistill.engine.sources.base.Source`)."""
        ...


@dataclass(frozen=True, kw_only=True)
class PooledRidge(Objective[DrawnKernel]):
    """The error on originals of the ridge regression, with its exact gradient in the memory of one micro-batch.

    Attributes:
        student: the network as a function.
        walks: source of fresh networks and of training steps, a window of one step each.
        originals: source of what the regression is asked about.
        optimiser: how networks of the pool are trained.
        rates: of it.
        pool: the networks.
        ridge: what lambda is a share of, above 0.
        mirrored: whether every distilled image takes part with its mirror image, under the same values.
    """

    student: Student
    walks: Walks
    originals: CountedSource
    optimiser: InnerOptimiser
    rates: Rates
    pool: Pool
    ridge: float
    mirrored: bool = False
    memory: MemoryNeed = NEED

    @abstractmethod
    def truth(self, originals: LabelledImages) -> Float[Tensor, "B C"]:
        """Return y_t of originals, float64."""

    @abstractmethod
    def solved(self, phi: Float[Tensor, "N D"], values: Float[Tensor, "N C"]) -> RidgeSolution:
        """Return the solution for the distilled images.

        Raises:
            DivergedError: the kernel matrix is not positive: features are not finite, or 0 for every image.
        """

    @abstractmethod
    def count(self, errors: Float[Tensor, "B C"]) -> float:
        """Return by what half the sum of the squared errors is divided."""

    @abstractmethod
    def lessons(self, outputs: Float[Tensor, "B C"], values: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
        """Return what outputs of a network of the pool lose to the images' values."""

    def regressors(self, phi: Float[Tensor, "N F"]) -> Float[Tensor, "N D"]:
        """Return what the regression takes of features: here the features."""
        return phi

    def of_labels(self, values: Float[Tensor, "M C"]) -> tuple[Tensor | float, Tensor | float]:
        """Return what the labels alone add to the loss, and its gradient in them: here nothing."""
        return 0.0, 0.0

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
        seen = self._seen(network.theta, (pixels[rows] for rows in _slices(len(pixels), micro_batch)))
        phi_t = self.regressors(self._seen(network.theta, asked))
        solution = self.solved(self.regressors(seen), values.repeat(copies, 1))
        errors = phi_t @ solution.weight - self.truth(originals)
        count = self.count(errors)
        cotangent, of_values = solution.back(errors.T @ phi_t / count)
        alone, of_alone = self.of_labels(values)
        grad_images, grad_labels = torch.zeros_like(images.pixels), torch.zeros_like(images.labels)
        of_features = cotangent[:, : seen.shape[1]]
        grad_images[drawn.shown] = self._pulled(network.theta, pixels, of_features, micro_batch)
        of_labels = of_values.view(copies, *values.shape).sum(dim=0) + of_alone
        grad_labels[drawn.shown] = of_labels.to(grad_labels.dtype)
        loss = float(errors.square().sum() / (2 * count) + alone)
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
                errors = self.lessons(self.student.logits(parts, shown), images.labels[rows[some]])
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


def _slices(count: int, size: int) -> Iterator[slice]:
    """Cut ``count`` rows into slices of at most ``size``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
