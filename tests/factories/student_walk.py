"""A student of plain SGD along a segment and back, in the words of the tests that match trajectories."""

from __future__ import annotations

import torch
from torch import Tensor

from medistill.engine.images import Images
from medistill.engine.inner_optimisers import PlainSGD, Rates, StudentState
from medistill.engine.segment import Segment, StudentSteps
from medistill.engine.student import Student
from medistill.engine.unroll import Gradient, Unroll
from medistill.training.augmentation import Draw


def walk(student: Student, images: Images, alpha: float, segment: Segment, micro_batch: int) -> list[Tensor]:
    """theta_0 .. theta_J of a student that starts where the segment does."""
    states = _plain(student, alpha, micro_batch).forward(images, StudentState(segment.start), segment.steps)
    return [state.theta for state in states]


def walk_back(
    student: Student,
    images: Images,
    alpha: float,
    segment: Segment,
    thetas: list[Tensor],
    lambda_end: Tensor,
    micro_batch: int,
) -> Gradient:
    """The derivatives in images, labels and alpha, from dL/dtheta_J; ``thetas`` are emptied, as a run does."""
    states = [StudentState(theta) for theta in thetas]
    thetas.clear()
    return _plain(student, alpha, micro_batch).back(images, states, segment.steps, lambda_end)


def segment_on(segment: Segment, device: str, dtype: torch.dtype) -> Segment:
    """The segment with all that it holds on a device."""
    steps = segment.steps
    draws = [Draw(one.operations, {name: v.to(device) for name, v in one.numbers.items()}) for one in steps.draws]
    moved = StudentSteps([rows.to(device) for rows in steps.batches], draws)
    return Segment(segment.start.to(device, dtype), segment.target.to(device, dtype), moved)


def _plain(student: Student, alpha: float, micro_batch: int) -> Unroll:
    return Unroll(student, PlainSGD(), Rates(alpha), micro_batch)
