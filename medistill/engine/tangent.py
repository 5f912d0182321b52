"""The tangent of an unrolled student: how its end moves with the distilled images, along one direction.

The backward walk of `medistill.engine.unroll` takes one derivative at the end to all images; this forward walk takes
one direction u in the images to the whole end. With g_t the gradient of the student's loss l on batch t, H_t its
Hessian and u_t what the augmentation makes of u,

    dtheta_0 = 0,    dtheta_{t+1} = dtheta_t - alpha (H_t dtheta_t + (dg_t/dX) u_t).

The bracket is one second derivative, since mixed ones may be taken in either order: that of l along (dtheta_t, u_t) in
theta and X at once, differentiated in theta. So a step costs what a step of the backward walk does.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from medistill.engine.derivative import Batch
from medistill.engine.images import Images
from medistill.engine.inner_optimisers import PlainSGD, StudentState
from medistill.engine.segment import StudentSteps
from medistill.engine.student import Student, cross_entropy
from medistill.engine.unroll import Unroll, step_batch
from medistill.networks.flat import split
from medistill.networks.second_order import SecondOrderKernels
from medistill.training.augmentation import Draw, augment


def tangent(
    unroll: Unroll,
    images: Images,
    states: list[StudentState],
    steps: StudentSteps,
    direction: Float[Tensor, "N C H W"],
) -> Float[Tensor, " P"]:
    """Return the derivative of theta_J along ``direction`` in the images, where the student moves by plain SGD.

    Args:
        unroll: how the student walks.
        images: all distilled images.
        states: as `Unroll.forward` gave them; they stay as they are.
        steps: that they were walked by.
        direction: u.

    Raises:
        ValueError: the student moves otherwise.
    """
    if not isinstance(unroll.optimiser, PlainSGD):
        raise ValueError(f"the tangent is that of plain SGD, not of {type(unroll.optimiser).__name__}")
    size = direction.abs().max().clamp_min(torch.finfo(direction.dtype).tiny)
    unit, moved = direction / size, torch.zeros_like(states[0].theta)
    for step in range(len(steps)):
        with torch.no_grad():
            batch = step_batch(images, steps, step)
            along = _linear_part(unit[steps.batches[step]], steps.draws[step])
        change = torch.zeros_like(moved)
        sums = split(change, unroll.student.shapes)
        for start in range(0, len(batch), unroll.micro_batch):
            rows = slice(start, start + unroll.micro_batch)
            pieces = _gradient_along(unroll.student, states[step].theta, moved, batch[rows], along[rows])
            for into, piece in zip(sums, pieces, strict=True):
                into.add_(piece)
        moved = change.mul_(-unroll.rates.alpha).add_(moved)
    return moved * size


def _linear_part(direction: Float[Tensor, "B C H W"], drawn: Draw) -> Float[Tensor, "B C H W"]:
    """Return the derivative of the augmentation along a direction; it is affine in the images, its draw given."""
    return augment(direction, drawn) - augment(torch.zeros_like(direction), drawn)


def _gradient_along(
    student: Student,
    theta: Float[Tensor, " P"],
    moved: Float[Tensor, " P"],
    batch: Batch,
    along: Float[Tensor, "B C H W"],
) -> tuple[Tensor, ...]:
    """Return H moved + (dg/dX) along for a micro-batch, as parameter tensors."""
    parts, images = student.parts(theta), batch.images.detach().requires_grad_()
    with SecondOrderKernels("graph"):
        logits = student.logits(parts, images)
        (grad_logits,) = torch.autograd.grad(
            cross_entropy(logits, batch.labels, batch.weights), logits, create_graph=True
        )
        gradients = torch.autograd.grad(logits, [*parts, images], grad_logits, create_graph=True)
    return torch.autograd.grad(
        gradients, parts, [*split(moved, student.shapes), along], allow_unused=True, materialize_grads=True
    )
