"""Trajectory matching: a student trained on the images has to end where an expert trained on real ones did.

What is learned beside images and labels: the student's learning rate, as the coordinate ``log_alpha``, and the weights
W of the parameters, as ``importance``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from medistill.engine.batched import adjoint_batched, unroll_batched
from medistill.engine.check import check_derivatives
from medistill.engine.coordinates import Coordinate, MomentumSGD, Range, Values
from medistill.engine.divergence import SECTION
from medistill.engine.images import Images
from medistill.engine.importance import ImportanceRule, ImportanceSettings, ParameterGroups
from medistill.engine.mask import MaskSettings, parameter_mask
from medistill.engine.matching import Match, match
from medistill.engine.memory import MemoryNeed
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.segment import Segment
from medistill.engine.sources.experts import ExpertSegments
from medistill.engine.student import Student
from medistill.engine.unroll import Gradient, adjoint, unroll
from medistill.progress import Progress
from medistill.training.device import Precision

ALPHA_STEP = 0.1
"""Largest change of log alpha in one outer step: one steep segment could otherwise take alpha so close to zero that no
gradient brings it back."""
ALPHA_LIMIT = 1e3
"""Times its initial value that alpha may reach."""


@dataclass(frozen=True)
class AlphaSettings:
    """The student's learning rate.

    Attributes:
        start: alpha before the first outer step.
        lr: learning rate of alpha, in the published unit.
        momentum: share of the velocity that stays.
    """

    start: float
    lr: float
    momentum: float


@dataclass(frozen=True)
class DrawnSegments:
    """What an outer step draws.

    Attributes:
        segments: whose losses are averaged.
        progress: share of the outer steps that are done.
    """

    segments: list[Segment]
    progress: float


@dataclass(frozen=True)
class TrajectoryMatching(Objective[DrawnSegments]):
    """The loss of MTT and its family, with its exact gradient.

    Attributes:
        student: the network as a function.
        source: of segments.
        segments: how many an outer step averages.
        alpha: the student's learning rate.
        importance: W.
        groups: the parameters that W weighs.
        mask: the parameters that are left out.
    """

    student: Student
    source: ExpertSegments
    segments: int
    alpha: AlphaSettings
    importance: ImportanceSettings
    groups: ParameterGroups
    mask: MaskSettings

    unstable = "student_lr"
    memory = MemoryNeed(
        "a student step",
        "the parameters of every student step",
        f"lower {SECTION}.syn_steps, since the parameters of every student step are kept, or {SECTION}.batch_syn",
    )

    def coordinates(self) -> dict[str, Coordinate]:
        """Return log alpha and W.

        Alpha moves by its logarithm, so it stays positive; scaled so that at its start alpha moves as by SGD on alpha
        itself.
        """
        first = self.alpha.start
        rule = MomentumSGD(self.alpha.lr / first**2, self.alpha.momentum, ALPHA_STEP)

        def growth(log_alpha: Tensor) -> float:
            return float(log_alpha.exp()) / first

        reach = Range(
            "student_lr_lr", growth, ALPHA_LIMIT, "the student's learning rate is {:.3g} times its first value", growth
        )
        return {
            "log_alpha": Coordinate(torch.tensor(first, dtype=torch.float64).log(), rule, reach),
            "importance": Coordinate(self.groups.weights, ImportanceRule(self.importance, self.groups)),
        }

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnSegments:
        """Draw the segments of an outer iteration, over the images that take part."""
        drawn = [self.source.draw(iteration, shown, number) for number in range(self.segments)]
        return DrawnSegments(drawn, iteration / self.source.settings.iterations)

    def evaluate(self, images: Images, learned: Values, drawn: DrawnSegments, micro_batch: int) -> Evaluation:
        """Return the mean loss of the segments with its gradients."""
        alpha = student_lr(learned)
        side_by_side = len(drawn.segments) > 1 and images.pixels.is_cuda
        walk = self._side_by_side if side_by_side else self._one_by_one
        matches, gradients = walk(images, alpha, learned, drawn, micro_batch)
        return Evaluation(
            loss=float(_mean([one.loss for one in matches])),
            grad_images=_mean([one.images for one in gradients]),
            grad_labels=_mean([one.labels for one in gradients]),
            grad_learned={
                "log_alpha": (alpha * _mean([one.alpha for one in gradients]).double()).cpu(),
                "importance": _mean([one.grad_importance for one in matches]),
            },
        )

    def _one_by_one(
        self, images: Images, alpha: float, learned: Values, drawn: DrawnSegments, micro_batch: int
    ) -> tuple[list[Match], list[Gradient]]:
        matches, gradients = [], []
        for segment in drawn.segments:
            thetas = unroll(self.student, images, alpha, segment, micro_batch=micro_batch)
            matched = self._matched(thetas[-1], segment, learned, drawn.progress)
            end = matched.lambda_end
            matches.append(matched)
            gradients.append(adjoint(self.student, images, alpha, segment, thetas, end, micro_batch=micro_batch))
        return matches, gradients

    def _side_by_side(
        self, images: Images, alpha: float, learned: Values, drawn: DrawnSegments, micro_batch: int
    ) -> tuple[list[Match], list[Gradient]]:
        segments = drawn.segments
        stacked = unroll_batched(self.student, images, alpha, segments, micro_batch=micro_batch)
        ends = zip(stacked[-1], segments, strict=True)
        matches = [self._matched(end, segment, learned, drawn.progress) for end, segment in ends]
        lambdas = torch.stack([one.lambda_end for one in matches])
        return matches, adjoint_batched(
            self.student, images, alpha, segments, stacked, lambdas, micro_batch=micro_batch
        )

    def _matched(self, end: Tensor, segment: Segment, learned: Values, progress: float) -> Match:
        mask = parameter_mask(self.mask, end, segment, progress)
        return match(end, segment, learned["importance"], self.groups.sizes, mask)

    def check(
        self, images: Images, drawn: DrawnSegments, micro_batch: int, precision: Precision, progress: Progress
    ) -> None:
        """Compare a mode or a precision that is not the plain one with it, on a step of the first segment."""
        check_derivatives(self.student, images, drawn.segments[0], precision, micro_batch, progress)

    def batch_size(self, shown: int) -> int:
        """Return how many images a student step takes."""
        return self.source.settings.batch_size(shown)

    def step_figures(self, learned: Values) -> dict[str, float]:
        """Return alpha."""
        return {"student_lr": student_lr(learned)}

    def validation_figures(self, learned: Values) -> dict[str, list[float]]:
        """Return W, but not that of every single parameter."""
        if self.importance.granularity == "scalar":
            return {}
        return {"importance": [float(w) for w in learned["importance"]]}

    def progress_figures(self, learned: Values) -> str:
        """Say alpha."""
        return f"lr {student_lr(learned):.4f}"


def student_lr(learned: Values) -> float:
    """Return alpha, the student's learning rate."""
    return float(learned["log_alpha"].exp())


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean(dim=0) if len(values) > 1 else values[0]
