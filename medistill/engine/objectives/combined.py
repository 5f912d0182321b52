"""Trajectories and the real loss in one run: trajectories first and the real loss after, or both with a weight.

Their gradients differ in scale by orders. Each is divided by its own running norm, in images and in labels apart,
before they are weighed, with s the share of the real loss at this outer step:

    G = (1 - s) G_trajectories / |G_trajectories| + s G_real / |G_real|

The running norms are coordinates, so that they lie in the state. Each of the two keeps the learning rate of its own
students; those of the real loss have names that begin with ``real_``.

With W by usefulness, W descends the real loss l of networks trained on the images after an outer step. With
X' = X - image_lr dL/dX under W, and u = dl/dX,

    dl/dw = -image_lr <u, d^2 L/dX dw>

to first order in image_lr, and exactly where u is taken at X'. Where networks are shown features F(X), with J = dF/dX,
the bracket is <J J^T dl/dF, d^2 L/dF dw>, which `Images.descent` makes of dl/dF. All groups come from one tangent
(`medistill.engine.tangent`). W moves along it divided by its running norm, so that its rate is the length of a step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from medistill.engine.coordinates import Coordinate, Moments, TakenOver, UpdateRule, Values
from medistill.engine.divergence import SECTION
from medistill.engine.images import Images
from medistill.engine.memory import MemoryNeed
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.objectives.trajectory import DrawnSegments, TrajectoryMatching, student_lr
from medistill.engine.objectives.unrolled import DrawnUnroll, Unrolled
from medistill.progress import Progress
from medistill.training.device import Precision

REAL = "real_"
"""How names begin that belong to the real loss."""
MEMORY = 0.9
"""Share of a running norm that stays."""
NORMS = {"norm_trajectory": 2, "norm_real": 2, "norm_usefulness": 1}
"""Running norms: of each gradient in images and labels, and of W's."""
SHARE = "share_of_real"
"""The coordinate that remembers how much the real loss counted in the last outer step."""


@dataclass(frozen=True)
class Resting:
    """A rule that leaves a coordinate, and what is remembered of it, as it is where the gradient is exactly 0.

    So it is in steps that do not ask the objective it belongs to.

    Attributes:
        rule: by which it moves otherwise.
    """

    rule: UpdateRule

    def moments(self, value: Tensor) -> Moments:
        """Return those of the rule."""
        return self.rule.moments(value)

    def update(self, value: Tensor, gradient: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        """Return the coordinate and its moments after a step."""
        return self.rule.update(value, gradient, moments) if bool(gradient.any()) else (value, moments)


@dataclass(frozen=True)
class Shares:
    """How much the real loss counts, over the outer steps.

    Attributes:
        weight: its share at first.
        begins: share of the outer steps after which it counts alone; 1 is never.
        iterations: outer steps of the run.
    """

    weight: float
    begins: float
    iterations: int

    def of_real(self, iteration: int) -> float:
        """Return its share in the outer step after ``iteration`` finished ones."""
        return 1.0 if iteration >= self.begins * self.iterations else self.weight

    @property
    def first(self) -> int:
        """How many outer steps are finished when it first counts."""
        return 0 if self.weight > 0 else math.ceil(self.begins * self.iterations)

    @property
    def mixes(self) -> bool:
        """Whether it ever counts; else images move as trajectories alone have it."""
        return self.weight > 0 or self.of_real(self.iterations - 1) > 0


@dataclass(frozen=True)
class DrawnBoth:
    """What an outer step draws.

    Attributes:
        real_share: how much the real loss counts.
        trajectory: segments; None where they are not asked.
        real: a student's walk and originals; None where they are not asked.
    """

    real_share: float
    trajectory: DrawnSegments | None
    real: DrawnUnroll | None


@dataclass(frozen=True)
class Combined(Objective[DrawnBoth]):
    """Both losses, with W by usefulness where its settings say so.

    Attributes:
        trajectory: the matching of trajectories.
        real: the loss on originals.
        shares: how much each counts.
    """

    trajectory: TrajectoryMatching
    real: Unrolled
    shares: Shares

    unstable = "student_lr"
    unstable_students = "real.student_lr"
    memory = MemoryNeed(
        "a student step",
        "the parameters of every student step",
        f"lower {SECTION}.syn_steps and {SECTION}.real.window, since the parameters of every student step are kept",
    )

    @property
    def useful(self) -> bool:
        """Whether W moves by usefulness."""
        return self.trajectory.importance.direction == "usefulness"

    @cached_property
    def _at_rest(self) -> dict[str, bool]:
        """Whether what stands for the gradient of a coordinate that rests is its value, or 0."""
        return {name: isinstance(one.rule, TakenOver) for name, one in self.coordinates().items()}

    def coordinates(self) -> dict[str, Coordinate]:
        """Return what both learn, and the running norms."""
        both = {
            **self.trajectory.coordinates(),
            **{REAL + name: _of_section(one) for name, one in self.real.coordinates().items()},
        }
        resting = {
            name: one if isinstance(one.rule, TakenOver) else replace(one, rule=Resting(one.rule))
            for name, one in both.items()
        }
        norms = {name: torch.zeros(size, dtype=torch.float64) for name, size in NORMS.items()}
        kept = {**norms, SHARE: torch.tensor(self.shares.of_real(0), dtype=torch.float64)}
        return {**resting, **{name: Coordinate(start, TakenOver()) for name, start in kept.items()}}

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnBoth:
        """Draw for each of the two that the step asks."""
        share = self.shares.of_real(iteration)
        return DrawnBoth(
            share,
            self.trajectory.draw(iteration, shown) if share < 1 else None,
            self.real.draw(iteration, shown) if share > 0 or self.useful else None,
        )

    def evaluate(self, images: Images, learned: Values, drawn: DrawnBoth, micro_batch: int) -> Evaluation:
        """Return the weighed losses and gradients; the coordinates of a loss that is not asked rest."""
        gradients = {
            name: learned[name] if taken_over else torch.zeros_like(learned[name])
            for name, taken_over in self._at_rest.items()
        }
        gradients[SHARE] = torch.tensor(drawn.real_share, dtype=torch.float64)
        weighed: list[tuple[str, float, Evaluation]] = []
        if drawn.trajectory is not None:
            seen = self.trajectory.evaluate(images, learned, drawn.trajectory, micro_batch)
            gradients.update(seen.grad_learned)
            weighed.append(("norm_trajectory", 1 - drawn.real_share, seen))
        if drawn.real is not None:
            seen = self.real.evaluate(images, _own(learned), drawn.real, micro_batch)
            gradients.update({REAL + name: gradient for name, gradient in seen.grad_learned.items()})
            weighed.append(("norm_real", drawn.real_share, seen))
            if drawn.trajectory is not None and self.useful and seen.usable:
                direction = images.descent(seen.grad_images)
                along = self.trajectory.importance_along(images, learned, drawn.trajectory, direction, micro_batch)
                gradients["norm_usefulness"] = norm = _running(learned["norm_usefulness"], -along)
                gradients["importance"] = -along / float(norm)
        loss, usable = sum(share * one.loss for _, share, one in weighed), all(one.usable for _, _, one in weighed)
        grad_images, grad_labels = torch.zeros_like(images.pixels), torch.zeros_like(images.labels)
        for name, share, one in weighed:
            by_images = by_labels = 1.0
            if self.shares.mixes and usable:
                gradients[name] = _running(learned[name], one.grad_images, one.grad_labels)
                by_images, by_labels = gradients[name].tolist()
            grad_images.add_(one.grad_images, alpha=share / by_images)
            grad_labels.add_(one.grad_labels, alpha=share / by_labels)
        return Evaluation(loss, grad_images, grad_labels, gradients, usable=usable)

    def student_lr(self, learned: Values) -> float:
        """Return the learning rate of the students of the loss that counted more in the last outer step."""
        return self.real.rates.at(_own(learned)).alpha if self.by_real(learned) else student_lr(learned)

    def by_real(self, learned: Values) -> bool:
        """Return whether the real loss counted as much as trajectories in the last outer step, or more."""
        return float(learned[SHARE]) >= 0.5

    def check(
        self, images: Images, drawn: DrawnBoth, micro_batch: int, precision: Precision, progress: Progress
    ) -> None:
        """Have one of them compare, since their students are the same."""
        if drawn.trajectory is not None:
            self.trajectory.check(images, drawn.trajectory, micro_batch, precision, progress)
        elif drawn.real is not None:
            self.real.check(images, drawn.real, micro_batch, precision, progress)

    def batch_size(self, shown: int) -> int:
        """Return the larger one of both."""
        return max(self.trajectory.batch_size(shown), self.real.batch_size(shown))

    def step_figures(self, learned: Values) -> dict[str, float]:
        """Return those of both."""
        of_real = {REAL + name: figure for name, figure in self.real.step_figures(_own(learned)).items()}
        return {**self.trajectory.step_figures(learned), **of_real}

    def validation_figures(self, learned: Values) -> dict[str, list[float]]:
        """Return W."""
        return self.trajectory.validation_figures(learned)

    def progress_figures(self, learned: Values) -> str:
        """Say both learning rates."""
        return f"{self.trajectory.progress_figures(learned)}, real {self.real.progress_figures(_own(learned))}"


def _own(learned: Values) -> Mapping[str, Tensor]:
    """Return the coordinates of the real loss, by the names that it knows them by."""
    return {name.removeprefix(REAL): value for name, value in learned.items() if name.startswith(REAL)}


def _of_section(coordinate: Coordinate) -> Coordinate:
    """Return a coordinate whose range blames the setting of the real loss's own section."""
    reach = coordinate.range
    return coordinate if reach is None else replace(coordinate, range=replace(reach, setting=f"real.{reach.setting}"))


def _running(before: Tensor, *gradients: Tensor) -> Tensor:
    """Return the running norm of each gradient, float64; the first of them sets it."""
    sizes = torch.stack([torch.linalg.vector_norm(gradient).double().cpu() for gradient in gradients])
    running = torch.where(before > 0, MEMORY * before + (1 - MEMORY) * sizes, sizes)
    return running.clamp_min(torch.finfo(torch.float32).tiny)
