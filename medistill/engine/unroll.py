"""The unrolled student and its exact gradient, in the memory of one step.

Forward, theta_{t+1} = theta_t - alpha g_t with g_t the gradient of the student's loss on batch t. Only the J + 1
vectors theta_t are kept. Backward, with lambda_J = dL/dtheta_J, for t = J-1 .. 0:

    (H_t v, dX_t) = gradient of <g_t, v> in (theta_t, X_t), where v = lambda_{t+1}
    dL/dX     -= alpha dX_t, and alike for the labels' probabilities Y
    dL/dalpha -= <g_t, v>
    lambda_t   = v - alpha H_t v

This is the number that automatic differentiation through the whole unrolled loop gives, since each line is the chain
rule of one step; but only one step's graph is alive at a time. Instance norm treats every image by itself, so a step is
a sum over images and may be walked in micro-batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from medistill.engine.derivative import Batch, gradient, hessian_vector_product
from medistill.engine.images import Images
from medistill.engine.segment import Segment
from medistill.engine.student import Student
from medistill.networks.flat import split
from medistill.training.augmentation import augment


@dataclass(frozen=True)
class Gradient:
    """Derivatives of the outer loss.

    Attributes:
        images: in the distilled images.
        labels: in their labels' probabilities.
        alpha: in the student's learning rate.
    """

    images: Float[Tensor, "N C H W"]
    labels: Float[Tensor, "N C"]
    alpha: Float[Tensor, ""]


def unroll(
    student: Student, images: Images, alpha: float, segment: Segment, *, micro_batch: int
) -> list[Float[Tensor, " P"]]:
    """Walk the student forward: theta_0 .. theta_J."""
    thetas = [segment.start]
    for step in range(len(segment.batches)):
        with torch.no_grad():
            batch = step_batch(images, segment, step)
        thetas.append(step_gradient(student, thetas[-1], batch, micro_batch).mul_(-alpha).add_(thetas[-1]))
    return thetas


def adjoint(
    student: Student,
    images: Images,
    alpha: float,
    segment: Segment,
    thetas: list[Float[Tensor, " P"]],
    lambda_end: Float[Tensor, " P"],
    *,
    micro_batch: int,
) -> Gradient:
    """Walk back from dL/dtheta_J to the derivatives in images, labels and alpha, emptying ``thetas`` on the way."""
    grad_images, grad_labels = torch.zeros_like(images.pixels), torch.zeros_like(images.labels)
    grad_alpha = torch.zeros((), dtype=lambda_end.dtype, device=lambda_end.device)
    costate = lambda_end
    thetas.pop()
    for step in range(len(segment.batches) - 1, -1, -1):
        rows = segment.batches[step]
        leaf = images.pixels[rows].detach().requires_grad_()
        batch = step_batch(images, segment, step, leaf)
        second = step_hessian_vector_product(student, thetas.pop(), costate, batch, micro_batch)
        (grad_leaf,) = torch.autograd.grad(batch.images, leaf, second.images)
        grad_images.index_add_(0, rows, grad_leaf, alpha=-alpha)
        grad_labels.index_add_(0, rows, second.labels, alpha=-alpha)
        grad_alpha -= second.along
        costate = second.theta.mul_(-alpha).add_(costate)
    return Gradient(grad_images, grad_labels, grad_alpha)


@dataclass(frozen=True)
class StepSecondDerivative:
    """Derivatives of <g_t, v> for a whole step; see `SecondDerivative`.

    Attributes:
        theta: H_t v.
        images: in the augmented images.
        labels: in their labels' probabilities.
        along: <g_t, v>.
    """

    theta: Float[Tensor, " P"]
    images: Float[Tensor, "B C H W"]
    labels: Float[Tensor, "B C"]
    along: Float[Tensor, ""]


def step_batch(images: Images, segment: Segment, step: int, pixels: Tensor | None = None) -> Batch:
    """Return what step ``step`` trains on; ``pixels`` stand for the images of its rows, before augmentation."""
    rows = segment.batches[step]
    augmented = augment(images.pixels[rows] if pixels is None else pixels, segment.draws[step])
    return Batch(augmented, images.labels[rows], images.weights[rows] / len(rows))


def step_gradient(student: Student, theta: Float[Tensor, " P"], batch: Batch, micro_batch: int) -> Float[Tensor, " P"]:
    """Return g_t, summed over micro-batches."""
    parts, total = student.parts(theta), torch.zeros_like(theta)
    sums = split(total, student.shapes)
    for _, piece in _pieces(student, batch, micro_batch):
        for into, g in zip(sums, gradient(student, parts, piece), strict=True):
            into.add_(g)
    return total


def step_hessian_vector_product(
    student: Student, theta: Float[Tensor, " P"], v: Float[Tensor, " P"], batch: Batch, micro_batch: int
) -> StepSecondDerivative:
    """Return H_t v and what comes with it, summed over micro-batches."""
    parts, along, total = student.parts(theta), split(v, student.shapes), torch.zeros_like(v)
    sums = split(total, student.shapes)
    grad_images, grad_labels = torch.empty_like(batch.images), torch.empty_like(batch.labels)
    value = torch.zeros((), dtype=v.dtype, device=v.device)
    for rows, piece in _pieces(student, Batch(batch.images.detach(), batch.labels, batch.weights), micro_batch):
        second = hessian_vector_product(student, parts, along, piece)
        for into, product in zip(sums, second.parts, strict=True):
            into.add_(product)
        count = len(grad_labels[rows])
        grad_images[rows], grad_labels[rows] = second.images[:count], second.labels[:count]
        value += second.along
    return StepSecondDerivative(total, grad_images, grad_labels, value)


def _pieces(student: Student, batch: Batch, size: int) -> Iterator[tuple[slice, Batch]]:
    """Yield micro-batches and where they lie. What is compiled takes one size: the last is filled up with weight 0."""
    size = min(size, len(batch))
    for start in range(0, len(batch), size):
        rows = slice(start, start + size)
        piece = batch[rows]
        if student.hvp_mode == "compiled" and len(piece) < size:
            more = size - len(piece)
            piece = Batch(
                torch.cat([piece.images, batch.images[:more]]),
                torch.cat([piece.labels, batch.labels[:more]]),
                torch.cat([piece.weights, torch.zeros_like(batch.weights[:more])]),
            )
        yield rows, piece
