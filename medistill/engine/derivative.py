"""First and second derivatives of one student step on one micro-batch, in one of three ways.

With l(theta, X, Y) the student's loss, g = dl/dtheta and v a vector over the parameters, the second derivative is
d<g, v>/d(theta, X, Y), beside the number <g, v>:

- reverse: reverse mode over reverse mode, layer by layer in closed form (`medistill.networks.closed_form`).
- forward: the derivative of all first derivatives along v, by forward mode over reverse mode; the same since second
  derivatives commute. It loses digits as the steps grow in number.
- compiled: reverse over reverse, as one program made by torch.compile.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, grad_and_value, jvp

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.engine.student import Student, cross_entropy
from medistill.networks.closed_form import ClosedForms


@dataclass(frozen=True)
class Curvature:
    """Derivatives of <g, v> for one micro-batch.

    Attributes:
        parts: in the parameter tensors: the Hessian times v.
        images: in the images.
        labels: in the labels' probabilities.
        slope: <g, v> itself.
    """

    parts: Sequence[Tensor]
    images: Float[Tensor, "B C H W"]
    labels: Float[Tensor, "B C"]
    slope: Float[Tensor, ""]


@dataclass(frozen=True)
class Batch:
    """Augmented images, their labels' probabilities, and their weights in the loss (which carry the division by B)."""

    images: Float[Tensor, "B C H W"]
    labels: Float[Tensor, "B C"]
    weights: Float[Tensor, " B"]

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, rows: slice) -> "Batch":
        """Some of them."""
        return Batch(self.images[rows], self.labels[rows], self.weights[rows])


def slope(student: Student, parts: Sequence[Tensor], batch: Batch) -> Sequence[Tensor]:
    """g: the gradient of the student's loss in its parameter tensors."""
    if student.way == "compiled":
        return _program(student, "slope", lambda: grad(student.loss))(
            [part.detach() for part in parts], batch.images, batch.labels, batch.weights
        )
    with ClosedForms():
        loss = student.loss(parts, batch.images, batch.labels, batch.weights)
    return torch.autograd.grad(loss, parts)


def curvature(student: Student, parts: Sequence[Tensor], along: Sequence[Tensor], batch: Batch) -> Curvature:
    """The second derivative along ``along``, the tensors of v, in the student's way."""
    if student.way == "reverse":
        return _reverse(student, parts, along, batch)
    inert = [part.detach() for part in parts]
    if student.way == "forward":
        return _forward(student, inert, along, batch)
    program = _program(student, "curvature", lambda: lambda *given: reverse_over_reverse(student, *given))
    return Curvature(*program(inert, along, batch.images, batch.labels, batch.weights))


def _reverse(student: Student, parts: Sequence[Tensor], along: Sequence[Tensor], batch: Batch) -> Curvature:
    """Reverse over reverse. <g, v> is had from the logits z, as <dl/dz, dz/dtheta v>, so g itself is never formed."""
    images, labels = batch.images.detach().requires_grad_(), batch.labels.detach().requires_grad_()
    with ClosedForms("graph"):
        logits = student.logits(parts, images)
        (of_logits,) = torch.autograd.grad(cross_entropy(logits, labels, batch.weights), logits, create_graph=True)
        gradients = torch.autograd.grad(logits, parts, of_logits, create_graph=True)
    *curved, of_images, of_labels, moved = torch.autograd.grad(
        gradients, [*parts, images, labels, of_logits], along, allow_unused=True, materialize_grads=True
    )
    return Curvature(curved, of_images, of_labels, (of_logits.detach() * moved).sum())


def _forward(student: Student, parts: Sequence[Tensor], along: Sequence[Tensor], batch: Batch) -> Curvature:
    def first(inner: Sequence[Tensor]) -> tuple[Any, ...]:
        return grad(student.loss, argnums=(0, 1, 2))(inner, batch.images, batch.labels, batch.weights)

    values, (curved, of_images, of_labels) = jvp(first, (list(parts),), (list(along),), has_aux=False)  # type: ignore[misc]
    return Curvature(curved, of_images, of_labels, inner_product(values[0], along))


def reverse_over_reverse(
    student: Student, parts: Sequence[Tensor], along: Sequence[Tensor], images: Tensor, labels: Tensor, weights: Tensor
) -> tuple[Sequence[Tensor], Tensor, Tensor, Tensor]:
    """The fields of a `Curvature` as a function of plain tensors, that can be compiled or batched."""

    def projected(inner: Sequence[Tensor], some: Tensor, told: Tensor) -> Tensor:
        return inner_product(grad(student.loss)(inner, some, told, weights), along)

    (curved, of_images, of_labels), value = grad_and_value(projected, argnums=(0, 1, 2))(parts, images, labels)
    return curved, of_images, of_labels, value


def inner_product(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Of two vectors that lie in tensors of the same shapes."""
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()


def _program(student: Student, name: str, make: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """A function compiled once a student: on CUDA into a graph that is launched as a whole.

    PyTorch keeps what it compiles and runs what it finds there, so that is a folder which nobody else can write to; by
    itself it takes one in `/tmp` with a name that can be guessed.
    """
    if name not in student.programs:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(private_folder(cache_root() / "compiled"))
        mode = "reduce-overhead" if next(student.network.parameters()).is_cuda else None
        student.programs[name] = torch.compile(make(), mode=mode, dynamic=False)
    return student.programs[name]
