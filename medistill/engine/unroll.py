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

from medistill.engine.segment import Segment
from medistill.engine.student import Student
from medistill.networks.flat import split
from medistill.training.augmentation import augment


@dataclass(frozen=True)
class Images:
    """What the student trains on.

    Attributes:
        pixels: the distilled images, normalised.
        labels: probabilities of the classes, each row adding up to 1.
        weights: a loss weight each, mean 1.
    """

    pixels: Float[Tensor, "N C H W"]
    labels: Float[Tensor, "N C"]
    weights: Float[Tensor, " N"]


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
    """Walk back from dL/dtheta_J to the derivatives in images, labels and alpha, emptying ``thetas`` on the way."""
    of_images, of_labels = torch.zeros_like(images.pixels), torch.zeros_like(images.labels)
    of_alpha = torch.zeros((), dtype=lambda_end.dtype, device=lambda_end.device)
    costate = lambda_end
    thetas.pop()
    for step in range(len(segment.batches) - 1, -1, -1):
        rows = segment.batches[step]
        leaf = images.pixels[rows].detach().requires_grad_()
        augmented = augment(leaf, segment.draws[step])
        labels, weights = images.labels[rows], images.weights[rows] / len(rows)
        parts = student.parts(thetas.pop())
        against = split(costate, student.shapes)
        product = torch.zeros_like(costate)
        of_augmented, of_told = torch.empty_like(augmented), torch.empty_like(labels)
        for piece in _pieces(len(rows), micro_batch):
            some = augmented[piece].detach().requires_grad_()
            told = labels[piece].detach().requires_grad_()
            loss = student.loss(parts, some, told, weights[piece])
            gradients = torch.autograd.grad(loss, parts, create_graph=True)
            slope = sum(
                (torch.dot(g.reshape(-1), v.reshape(-1)) for g, v in zip(gradients, against, strict=True)),
                start=torch.zeros((), dtype=costate.dtype, device=costate.device),
            )
            *curved, of_augmented[piece], of_told[piece] = torch.autograd.grad(
                slope, [*parts, some, told], allow_unused=True, materialize_grads=True
            )
            product += torch.cat([c.reshape(-1) for c in curved])
            of_alpha -= slope.detach()
        (of_leaf,) = torch.autograd.grad(augmented, leaf, of_augmented)
        of_images.index_add_(0, rows, of_leaf, alpha=-alpha)
        of_labels.index_add_(0, rows, of_told, alpha=-alpha)
        costate = costate - alpha * product
    return Gradient(of_images, of_labels, of_alpha)


def _step_input(images: Images, segment: Segment, step: int) -> tuple[Tensor, Tensor, Tensor]:
    rows = segment.batches[step]
    augmented = augment(images.pixels[rows], segment.draws[step])
    return augmented, images.labels[rows], images.weights[rows] / len(rows)


def _pieces(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
