"""Trajectory matching: a student trained on the images has to end where an expert trained on real ones did.

What is learned beside images and labels: the student's learning rate, as the coordinate ``log_alpha``, and the weights
W of the parameters, as ``importance``. What is remembered beside: the parameters that are ``kept``, and after how many
steps students were matched, where the scope asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from medistill.engine.batched import adjoint_batched, unroll_batched
from medistill.engine.check import check_derivatives
from medistill.engine.coordinates import Coordinate, MomentumSGD, Range, TakenOver, Values
from medistill.engine.divergence import SECTION
from medistill.engine.growing_mask import KEPT
from medistill.engine.images import Images
from medistill.engine.importance import ImportanceRule, ImportanceSettings, ParameterGroups
from medistill.engine.inner_optimisers import PlainSGD, Rates, StudentState
from medistill.engine.mask import MaskSettings, parameter_mask
from medistill.engine.matching import Match, gradient_along, match
from medistill.engine.memory import MemoryNeed
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.scope import WHOLE_END, MatchScope
from medistill.engine.segment import Segment
from medistill.engine.shape import match_shape
from medistill.engine.sources.experts import ExpertSegments
from medistill.engine.student import Student
from medistill.engine.tangent import tangent
from medistill.engine.unroll import Gradient, Unroll
from medistill.progress import Progress
from medistill.ranks.ranks import ALONE, Ranks
from medistill.training.device import Precision, sent

ALPHA_STEP = 0.1
"""Largest change of log alpha in one outer step: one steep segment could otherwise take alpha so close to zero that no
gradient brings it back."""
ALPHA_LIMIT = 1e3
"""Times its initial value that alpha may reach."""
LENGTH = "matched_steps"
"""The coordinate that remembers after how many steps the students of the last outer step were matched, in the mean."""


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
        iteration: outer steps that are done.
    """

    segments: list[Segment]
    progress: float
    iteration: int


@dataclass(frozen=True)
class Matched:
    """What a segment says of a student's walk.

    Attributes:
        match: the loss, with its gradient in the state that is matched.
        length: number of the steps that lead there.
        inner: dL/dtheta_t of states before it, by t.
        kept: the parameters that take part from now on; None where all do.
    """

    match: Match
    length: int
    inner: Mapping[int, Float[Tensor, " P"]]
    kept: Bool[Tensor, " P"] | None


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
        scope: what of a student's walk is matched.
        ranks: processes that share the segments of a step; where parameters are ``kept``, segment by segment, a process
            alone.
    """

    student: Student
    source: ExpertSegments
    segments: int
    alpha: AlphaSettings
    importance: ImportanceSettings
    groups: ParameterGroups
    mask: MaskSettings
    scope: MatchScope = WHOLE_END
    ranks: Ranks = ALONE

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
            **self._remembered(),
        }

    def _remembered(self) -> dict[str, Coordinate]:
        """Return what the scope has to remember."""
        scope, found = self.scope, dict[str, Coordinate]()
        if scope.kept is not None:
            found.update(scope.kept.coordinates(int(self.groups.sizes.sum()), self.groups.live.device))
        if scope.closest != "off":
            found[LENGTH] = Coordinate(torch.zeros((), dtype=torch.float64), TakenOver())
        return found

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnSegments:
        """Draw the segments of an outer iteration that fall to this rank, over the images that take part."""
        drawn = [self.source.draw(iteration, shown, number) for number in self.ranks.share(self.segments)]
        return DrawnSegments(drawn, iteration / self.source.settings.iterations, iteration)

    def evaluate(self, images: Images, learned: Values, drawn: DrawnSegments, micro_batch: int) -> Evaluation:
        """Return the mean loss of the segments of all ranks with its gradients."""
        alpha = student_lr(learned)
        side_by_side = len(drawn.segments) > 1 and images.pixels.device.type != "cpu"
        walk = self._side_by_side if side_by_side else self._one_by_one
        matched, gradients = walk(images, alpha, learned, drawn, micro_batch)
        mine = [_of_segment(one, gradient) for one, gradient in zip(matched, gradients, strict=True)]
        segments = self.ranks.gathered(mine, self.segments, alike=[images.pixels, images.labels, learned["log_alpha"]])
        return Evaluation(
            loss=float(_mean([one["loss"] for one in segments])),
            grad_images=_mean([one["images"] for one in segments]),
            grad_labels=_mean([one["labels"] for one in segments]),
            grad_learned={
                "log_alpha": (alpha * _mean([one["alpha"] for one in segments]).double()).cpu(),
                "importance": _mean([one["importance"] for one in segments]),
                **self._remember(matched, segments),
            },
        )

    def importance_along(
        self,
        images: Images,
        learned: Values,
        drawn: DrawnSegments,
        direction: Float[Tensor, "N C H W"],
        micro_batch: int,
    ) -> Float[Tensor, " G"]:
        """Return <u, d^2 L/dX dw> for each group of W, the direction u in the images given: how dL/dw changes along it.

        One more walk, and the tangent of it, whatever the number of groups.
        """
        unroll, found = Unroll(self.student, PlainSGD(), Rates(student_lr(learned)), micro_batch), []
        for segment in drawn.segments:
            states = unroll.forward(images, StudentState(segment.start), segment.steps)
            moved, end = tangent(unroll, images, states, segment.steps, direction), states[-1].theta
            mask = parameter_mask(self.mask, end, segment, drawn.progress)
            found.append(gradient_along(end, moved, segment, learned["importance"], self.groups.sizes, mask))
        return _mean(found)

    def _one_by_one(
        self, images: Images, alpha: float, learned: Values, drawn: DrawnSegments, micro_batch: int
    ) -> tuple[list[Matched], list[Gradient]]:
        unroll = Unroll(self.student, PlainSGD(), Rates(alpha), micro_batch, self.student.graphs)
        found, gradients, kept = list[Matched](), [], learned.get(KEPT)
        for segment in drawn.segments:
            states = unroll.forward(images, StudentState(segment.start), segment.steps)
            one = self._matched([state.theta for state in states], segment, learned, drawn, kept)
            found.append(one)
            kept = one.kept
            del states[one.length + 1 :]
            steps = segment.steps[: one.length]
            gradients.append(unroll.back(images, states, steps, one.match.lambda_end, inner=one.inner))
        return found, gradients

    def _side_by_side(
        self, images: Images, alpha: float, learned: Values, drawn: DrawnSegments, micro_batch: int
    ) -> tuple[list[Matched], list[Gradient]]:
        segments, found, kept = drawn.segments, list[Matched](), learned.get(KEPT)
        stacked = unroll_batched(self.student, images, alpha, segments, micro_batch=micro_batch)
        for k, segment in enumerate(segments):
            found.append(self._matched([thetas[k] for thetas in stacked], segment, learned, drawn, kept))
            kept = found[-1].kept
        last = len(stacked) - 1
        inner = [one.inner if one.length == last else {**one.inner, one.length: one.match.lambda_end} for one in found]
        ends = [one.match.lambda_end if one.length == last else torch.zeros_like(stacked[0][0]) for one in found]
        return found, adjoint_batched(
            self.student, images, alpha, segments, stacked, torch.stack(ends), micro_batch=micro_batch, inner=inner
        )

    def _matched(
        self, thetas: Sequence[Tensor], segment: Segment, learned: Values, drawn: DrawnSegments, kept: Tensor | None
    ) -> Matched:
        """Compare a walk with its segment.

        Args:
            thetas: the student's J + 1 states.
            segment: of the expert.
            learned: the coordinates of the run.
            drawn: of the outer step.
            kept: the parameters that took part so far; None where all do.

        Raises:
            DivergedError: no parameter takes part.
        """
        scope, length = self.scope, self.scope.length(thetas, segment.target)
        end = thetas[length]
        counted = scope.deep(end)
        if scope.kept is not None and kept is not None:
            kept = scope.kept.grown(kept, end, segment, self._live(end), drawn.iteration)
            counted = kept.to(end.dtype) if counted is None else counted * kept
        mask = parameter_mask(self.mask, end, segment, drawn.progress)
        found, inner = match(end, segment, learned["importance"], self.groups.sizes, mask, counted), {}
        if scope.shape and segment.middle is not None:
            halfway = length // 2
            walked = thetas[0], thetas[halfway], end
            shape = match_shape(walked, (segment.start, segment.middle, segment.target), scope.shape)
            inner[halfway] = shape.lambda_middle
            found = replace(found, loss=found.loss + shape.loss, lambda_end=found.lambda_end + shape.lambda_end)
        return Matched(found, length, inner, kept)

    def _live(self, end: Tensor) -> Bool[Tensor, " P"]:
        """Return which parameters lie in groups that move."""
        sizes = sent(self.groups.sizes, self.groups.live.device)
        return self.groups.live.repeat_interleave(sizes, output_size=len(end))

    def _remember(self, matched: Sequence[Matched], segments: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return what the scope remembers after an outer step.

        Args:
            matched: of this rank.
            segments: of all ranks.
        """
        found = dict[str, Tensor]()
        if matched and matched[-1].kept is not None:
            found[KEPT] = matched[-1].kept
        if self.scope.closest != "off":
            found[LENGTH] = torch.stack([one["length"] for one in segments]).mean().cpu()
        return found

    def check(
        self, images: Images, drawn: DrawnSegments, micro_batch: int, precision: Precision, progress: Progress
    ) -> None:
        """Compare a mode or a precision that is not the plain one with it, on a step of the first segment."""
        if not drawn.segments:  # of a rank that has none
            return
        check_derivatives(self.student, images, drawn.segments[0], precision, micro_batch, progress)

    def batch_size(self, shown: int) -> int:
        """Return how many images a student step takes."""
        return self.source.settings.batch_size(shown)

    def step_figures(self, learned: Values) -> dict[str, float]:
        """Return alpha, and what the scope remembers."""
        found = {"student_lr": student_lr(learned)}
        if KEPT in learned:
            found["kept_share"] = float(learned[KEPT].double().mean())
        if LENGTH in learned:
            found[LENGTH] = float(learned[LENGTH])
        return found

    def validation_figures(self, learned: Values) -> dict[str, list[float]]:
        """Return W, but not that of every single parameter."""
        if self.importance.granularity == "scalar":
            return {}
        return {"importance": learned["importance"].tolist()}

    def progress_figures(self, learned: Values) -> str:
        """Say alpha, and how much is matched."""
        kept = f", {float(learned[KEPT].double().mean()):.1%} matched" if KEPT in learned else ""
        steps = f", {float(learned[LENGTH]):.3g} steps matched" if LENGTH in learned else ""
        return f"lr {student_lr(learned):.4f}{kept}{steps}"


def _of_segment(matched: Matched, gradient: Gradient) -> dict[str, Tensor]:
    """Return what ranks tell each other of a segment."""
    return {
        "loss": matched.match.loss,
        "images": gradient.images,
        "labels": gradient.labels,
        "alpha": gradient.alpha,
        "importance": matched.match.grad_importance,
        "length": torch.tensor(float(matched.length), dtype=torch.float64),
    }


def student_lr(learned: Values) -> float:
    """Return alpha, the student's learning rate."""
    return float(learned["log_alpha"].exp())


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean(dim=0) if len(values) > 1 else values[0]
