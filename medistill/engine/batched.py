"""Several segments walked side by side, for a GPU that one small network leaves idle.

The same recursion as `medistill.engine.unroll`, with theta, costate and batches of all segments stacked and each step
one batched computation (`torch.func.vmap`). The results are those of one segment after another but for rounding. On a
CPU this is no faster.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, vmap

from medistill.engine.derivative import Batch, reverse_over_reverse
from medistill.engine.images import Images
from medistill.engine.segment import Segment
from medistill.engine.student import Student
from medistill.engine.unroll import Gradient, step_batch
from medistill.networks.flat import split


def unroll_batched(
    student: Student, images: Images, alpha: float, segments: Sequence[Segment], *, micro_batch: int
) -> list[Float[Tensor, "S P"]]:
    """Walk a student from the start of every segment: theta_0 .. theta_J, the segments stacked.

    Args:
        segments: S of them, with as many steps and images a step each.
        micro_batch: images of one segment that pass at once.
    """
    gradients = vmap(grad(student.loss))
    thetas = [torch.stack([segment.start for segment in segments])]
    for step in range(len(segments[0].steps)):
        with torch.no_grad():
            batch = _stacked([step_batch(images, segment.steps, step) for segment in segments])
        gradient = torch.zeros_like(thetas[-1])
        for rows in _pieces(batch, micro_batch):
            given = (batch.images[:, rows], batch.labels[:, rows], batch.weights[:, rows])
            gradient += _joined(gradients(_parts(student, thetas[-1]), *given))
        thetas.append(gradient.mul_(-alpha).add_(thetas[-1]))
    return thetas


def adjoint_batched(
    student: Student,
    images: Images,
    alpha: float,
    segments: Sequence[Segment],
    thetas: list[Float[Tensor, "S P"]],
    lambda_end: Float[Tensor, "S P"],
    *,
    micro_batch: int,
    inner: Sequence[Mapping[int, Float[Tensor, " P"]]] = (),
) -> list[Gradient]:
    """Walk all segments back, emptying ``thetas`` on the way; a gradient for each.

    Args:
        student: the network as a function.
        images: all distilled images.
        alpha: the student's learning rate.
        segments: S of them.
        thetas: as `unroll_batched` gave them.
        lambda_end: dL/dtheta_J of each.
        micro_batch: images of one segment that pass at once.
        inner: for each, dL/dtheta_t of states before the last, by t; without it their ends alone count.
    """
    second_derivatives = vmap(lambda *given: reverse_over_reverse(student, *given))
    gradients = [
        Gradient(
            torch.zeros_like(images.pixels),
            torch.zeros_like(images.labels),
            lambda_end.new_zeros(()),
            lambda_end.new_zeros(()),
        )
        for _ in segments
    ]
    costate = lambda_end
    thetas.pop()
    for step in range(len(segments[0].steps) - 1, -1, -1):
        leaves = [images.pixels[segment.steps.batches[step]].detach().requires_grad_() for segment in segments]
        batches = [step_batch(images, one.steps, step, leaf) for one, leaf in zip(segments, leaves, strict=True)]
        batch = _stacked(batches)
        grad_images, grad_labels = torch.empty_like(batch.images), torch.empty_like(batch.labels)
        parts, along, product = _parts(student, thetas.pop()), _parts(student, costate), torch.zeros_like(costate)
        for rows in _pieces(batch, micro_batch):
            given = (batch.images[:, rows].detach(), batch.labels[:, rows], batch.weights[:, rows])
            products, grad_images[:, rows], grad_labels[:, rows], values = second_derivatives(parts, along, *given)
            product += _joined(products)
            for gradient, value in zip(gradients, values, strict=True):
                gradient.alpha.sub_(value)
        for k, (segment, leaf, made) in enumerate(zip(segments, leaves, batches, strict=True)):
            (grad_leaf,) = torch.autograd.grad(made.images, leaf, grad_images[k])
            gradients[k].images.index_add_(0, segment.steps.batches[step], grad_leaf, alpha=-alpha)
            gradients[k].labels.index_add_(0, segment.steps.batches[step], grad_labels[k], alpha=-alpha)
        costate = product.mul_(-alpha).add_(costate)
        for k, of_states in enumerate(inner):
            if step in of_states:
                costate[k].add_(of_states[step])
    return gradients


def _stacked(batches: Sequence[Batch]) -> Batch:
    return Batch(
        torch.stack([batch.images.detach() for batch in batches]),
        torch.stack([batch.labels for batch in batches]),
        torch.stack([batch.weights for batch in batches]),
    )


def _pieces(batch: Batch, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, batch.weights.shape[1], size)]


def _parts(student: Student, stacked: Float[Tensor, "S P"]) -> list[Tensor]:
    """Tensors (S, ...) in the shapes of the parameters."""
    return [torch.stack(parts) for parts in zip(*(split(one, student.shapes) for one in stacked), strict=True)]


def _joined(parts: Sequence[Tensor]) -> Float[Tensor, "S P"]:
    return torch.cat([part.flatten(1) for part in parts], dim=1)
