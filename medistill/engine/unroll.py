"""The unrolled student and its exact gradient, in the memory of one step.

Forward, theta_{t+1} = theta_t - alpha g_t with g_t the gradient of the student's loss on batch t. Only the J + 1
vectors theta_t are kept. Backward, with lambda_J = dL/dtheta_J, for t = J-1 .. 0:

    (H_t v, dX_t) = gradient of <g_t, v> in (theta_t, X_t), where v = lambda_{t+1}
    dL/dX     -= alpha dX_t
    dL/dalpha -= <g_t, v>
    lambda_t   = v - alpha H_t v

This is the number that automatic differentiation through the whole unrolled loop gives, since each line is the chain
rule of one step; but only one step's graph is alive at a time. Instance norm treats every image by itself, so a step is
a sum over images and may be walked in micro-batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.engine.segment import Segment
from medistill.engine.student import Student
from medistill.training.augmentation import augment


@dataclass(frozen=True)
class Images:
    """What the student trains on.

    Attributes:
        pixels: the distilled images, normalised.
        labels: a class each.
        weights: a loss weight each, mean 1.
    """

    pixels: Float[Tensor, "N C H W"]
    labels: Int[Tensor, " N"]
    weights: Float[Tensor, " N"]


@dataclass(frozen=True)
class Gradient:
    """Derivatives of the outer loss.

    Attributes:
        images: in the distilled images.
        alpha: in the student's learning rate.
    """

    images: Float[Tensor, "N C H W"]
    alpha: Float[Tensor, ""]


def unroll(
    student: Student, images: Images, alpha: float, segment: Segment, *, micro_batch: int
) -> list[Float[Tensor, " P"]]:
    """Walk the student forward: theta_0 .. theta_J."""
    thetas = [segment.start]
    for step in range(len(segment.batches)):
        parts = student.parts(thetas[-1])
        gradient = torch.zeros_like(segment.start)
        with torch.no_grad():
            augmented, labels, weights = _step_input(images, segment, step)
        for piece in _pieces(len(labels), micro_batch):
            loss = student.loss(parts, augmented[piece], labels[piece], weights[piece])
            gradient += torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, parts)])
        thetas.append(thetas[-1] - alpha * gradient)
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
    """Walk back from dL/dtheta_J to the derivatives in the images and alpha. ``thetas`` is emptied on the way."""
    of_images = torch.zeros_like(images.pixels)
    of_alpha = torch.zeros((), dtype=lambda_end.dtype, device=lambda_end.device)
    costate = lambda_end
    thetas.pop()
    for step in range(len(segment.batches) - 1, -1, -1):
        rows = segment.batches[step]
        leaf = images.pixels[rows].detach().requires_grad_()
        augmented = augment(leaf, segment.draws[step])
        labels, weights = images.labels[rows], images.weights[rows] / len(rows)
        parts = student.parts(thetas.pop())
        against = [v.view(p.shape) for v, p in zip(costate.split([p.numel() for p in parts]), parts, strict=True)]
        product = torch.zeros_like(costate)
        of_augmented = torch.empty_like(augmented)
        for piece in _pieces(len(rows), micro_batch):
            some = augmented[piece].detach().requires_grad_()
            loss = student.loss(parts, some, labels[piece], weights[piece])
            gradients = torch.autograd.grad(loss, parts, create_graph=True)
            slope = sum(
                (torch.dot(g.reshape(-1), v.reshape(-1)) for g, v in zip(gradients, against, strict=True)),
                start=torch.zeros((), dtype=costate.dtype, device=costate.device),
            )
            *curved, of_some = torch.autograd.grad(slope, [*parts, some], allow_unused=True, materialize_grads=True)
            product += torch.cat([c.reshape(-1) for c in curved])
            of_augmented[piece] = of_some
            of_alpha -= slope.detach()
        (of_leaf,) = torch.autograd.grad(augmented, leaf, of_augmented)
        of_images.index_add_(0, rows, of_leaf, alpha=-alpha)
        costate = costate - alpha * product
    return Gradient(of_images, of_alpha)


def _step_input(images: Images, segment: Segment, step: int) -> tuple[Tensor, Tensor, Tensor]:
    rows = segment.batches[step]
    augmented = augment(images.pixels[rows], segment.draws[step])
    return augmented, images.labels[rows], images.weights[rows] / len(rows)


def _pieces(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
