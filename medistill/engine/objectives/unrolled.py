"""The real loss, unrolled: how well a network trained on the images does on originals, and its exact gradient.

A fresh network walks T steps on the distilled images, and its loss on originals is taken at the end of a window of M
of them (Feng, Vedantam, Kempe 2024: a window at random, the steps before it not differentiated). With theta_n the
network there and l its mean cross-entropy on a batch of each class's originals, each class counting alike,

    L = l(theta_n),    lambda_n = dl/dtheta_n,

and lambda_n goes back through the window by the recursion of `medistill.engine.unroll`: exact, in the memory of one
step. What is learned beside images and labels: the student's learning rate and its momentum.

A student may leave the finite numbers on a walk that another start or another window survives. Such an outer step is
not usable, and is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.engine.check import check_derivatives
from medistill.engine.coordinates import Coordinate, Values
from medistill.engine.derivative import Batch, loss_and_gradient
from medistill.engine.images import Images
from medistill.engine.inner_optimisers import InnerOptimiser, StudentState
from medistill.engine.learned_rates import LearnedRates
from medistill.engine.memory import MemoryNeed
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.pool import Pool
from medistill.engine.segment import Segment, StudentSteps
from medistill.engine.sources.originals import Originals
from medistill.engine.sources.walks import DrawnWalk, Walks
from medistill.engine.student import Student
from medistill.engine.unroll import Unroll
from medistill.networks.flat import split
from medistill.progress import Progress
from medistill.recipe import AugmentationRecipe
from medistill.training.augmentation import Draw, augment, draw
from medistill.training.device import Precision
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator

NEED = MemoryNeed("a student step", "the parameters of every student step in the window")


@dataclass(frozen=True)
class DrawnUnroll:
    """What an outer step draws.

    Attributes:
        walk: of the student.
        originals: on which its loss is taken.
        augmentation: of them.
    """

    walk: DrawnWalk
    originals: LabelledImages
    augmentation: Draw


@dataclass(frozen=True)
class Unrolled(Objective[DrawnUnroll]):
    """The loss of a student on originals, with its exact gradient.

    Attributes:
        student: the network as a function.
        walks: source of its starts, steps and windows.
        originals: source of what its loss is taken on.
        optimiser: how the student moves.
        rates: its learning rate and momentum.
        augmentation: of the originals, drawn anew for every step, one for each.
        classes: outputs of the network.
        seed: of the run.
        pool: students that go on from one outer step to a later one; None begins each with a fresh one.
        memory: what its steps need memory for.
    """

    student: Student
    walks: Walks
    originals: Originals
    optimiser: InnerOptimiser
    rates: LearnedRates
    augmentation: AugmentationRecipe
    classes: int
    seed: int
    pool: Pool | None = None
    memory: MemoryNeed = NEED

    unstable = "student_lr"

    def coordinates(self) -> dict[str, Coordinate]:
        """Return log alpha, the momentum where it is learned, and the pool where there is one."""
        return {**self.rates.coordinates(), **(self.pool.coordinates() if self.pool else {})}

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnUnroll:
        """Draw a walk over the images that take part, and originals."""
        originals = self.originals.draw(iteration, shown)
        rng = generator(self.seed, "augmentation of originals", iteration)
        return DrawnUnroll(
            self.walks.draw(iteration, shown),
            originals,
            draw(self.augmentation, len(originals), rng, shown.device),
        )

    def evaluate(self, images: Images, learned: Values, drawn: DrawnUnroll, micro_batch: int) -> Evaluation:
        """Return the loss of the student on the originals and its gradients; not usable where any is not finite."""
        walk, rates, pool = drawn.walk, self.rates.at(learned), self.pool
        unroll = Unroll(self.student, self.optimiser, rates, micro_batch, self.student.graphs)
        states, window, behind = self._walked(images, learned, walk, unroll)
        end = states[-1]
        loss, lambda_end = self.loss(end.theta, drawn, micro_batch)
        made = unroll.back(images, states, window, lambda_end, behind)
        seen = Evaluation(loss, made.images, made.labels, self.rates.gradients(rates, made))
        usable = seen.finite
        kept: Mapping[str, Tensor] = {}
        if pool:
            steps = behind + len(window)
            kept = pool.after(learned, walk.member, end, steps) if usable else pool.without(learned, walk.member)
        return replace(seen, grad_learned={**seen.grad_learned, **kept}, usable=usable)

    def _walked(
        self, images: Images, learned: Values, walk: DrawnWalk, unroll: Unroll
    ) -> tuple[list[StudentState], StudentSteps, int]:
        """Return the states of the window, its steps, and how many the student has behind it."""
        if walk.by_norms is not None:
            states, norms = unroll.measured(images, self.optimiser.start(walk.start), walk.steps)
            window = walk.by_norms.of(norms)
            return states[window.start : window.stop + 1], walk.steps[window.start : window.stop], window.start
        found = self.pool.member(learned, walk.member) if self.pool else None
        if found is None:
            found = unroll.last(images, self.optimiser.start(walk.start), walk.steps[: walk.begins]), walk.begins
        (state, behind), steps = found, walk.steps[walk.begins :]
        return unroll.forward(images, state, steps, behind), steps, behind

    def loss(
        self, theta: Float[Tensor, " P"], drawn: DrawnUnroll, micro_batch: int
    ) -> tuple[float, Float[Tensor, " P"]]:
        """Return the loss of a network on the originals, each class counting alike, and its gradient in theta."""
        originals, total = drawn.originals, torch.zeros_like(theta)
        value = torch.zeros((), dtype=torch.float64, device=theta.device)
        parts, sums = self.student.parts(theta), split(total, self.student.shapes)
        for batch in self._batches(originals, drawn.augmentation, micro_batch, theta.dtype):
            loss, pieces = loss_and_gradient(self.student, parts, batch)
            value += loss
            for into, g in zip(sums, pieces, strict=True):
                into.add_(g)
        return float(value), total

    def _batches(self, originals: LabelledImages, augmentation: Draw, size: int, dtype: torch.dtype) -> Iterator[Batch]:
        """Yield the originals in micro-batches, with weights by which each class that is there counts alike."""
        labels = torch.nn.functional.one_hot(originals.labels, self.classes).to(dtype)
        counts = labels.sum(dim=0)
        weights = 1 / (counts[originals.labels] * (counts > 0).sum())
        for start in range(0, len(originals), size):
            rows = slice(start, start + size)
            shown = augment(originals.batch(rows).to(dtype), augmentation[rows])
            yield Batch(shown, labels[rows], weights[rows])

    def check(
        self, images: Images, drawn: DrawnUnroll, micro_batch: int, precision: Precision, progress: Progress
    ) -> None:
        """Compare a mode or a precision that is not the plain one with it, on the first step of the walk."""
        start = drawn.walk.start
        rng = generator(self.seed, "direction of a check")
        away = start + torch.randn(len(start), generator=rng).to(start, non_blocking=True)
        segment = Segment(start, away, drawn.walk.steps)
        check_derivatives(self.student, images, segment, precision, micro_batch, progress)

    def batch_size(self, shown: int) -> int:
        """Return how many images pass a network in a step, at once where there is no micro-batch."""
        return max(self.walks.settings.batch_size(shown), self.originals.count)

    def step_figures(self, learned: Values) -> dict[str, float]:
        """Return alpha, and the momentum where it is learned."""
        return self.rates.figures(learned)

    def progress_figures(self, learned: Values) -> str:
        """Say alpha."""
        return f"lr {self.rates.at(learned).alpha:.4f}"
