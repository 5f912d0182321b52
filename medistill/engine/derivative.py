"""First and second derivatives of one student step on one micro-batch, in one of two modes.

With l(theta, X, Y) the student's loss, g = dl/dtheta and v a vector over the parameters, the second derivative is
d<g, v>/d(theta, X, Y), beside the number <g, v>. Its part in theta is the Hessian-vector product. Reverse mode over
reverse mode, either way:

- reverse: layer by layer in closed form (`medistill.networks.second_order`).
- compiled: as one program made by torch.compile.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, grad_and_value

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.engine.student import Student, cross_entropy
from medistill.networks.second_order import First, FirstOrderKernels, SecondOrderKernels


@dataclass(frozen=True)
class SecondDerivative:
    """Derivatives of <g, v> for one micro-batch.

    Attributes:
        parts: in the parameter tensors: the Hessian times v.
        images: in the images.
        labels: in the labels' probabilities.
        along: <g, v> itself, the derivative of the loss along v.
    """

    parts: Sequence[Tensor]
    images: Float[Tensor, "B C H W"]
    labels: Float[Tensor, "B C"]
    along: Float[Tensor, ""]


@dataclass(frozen=True)
class Batch:
    """Augmented images, their labels' probabilities, and their weights in the loss (which carry the division by B)."""

    images: Float[Tensor, "B C H W"]
    labels: Float[Tensor, "B C"]
    weights: Float[Tensor, " B"]

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, rows: slice) -> "Batch":
        """Return some of them."""
        return Batch(self.images[rows], self.labels[rows], self.weights[rows])


def gradient(student: Student, parts: Sequence[Tensor], batch: Batch) -> Sequence[Tensor]:
    """Return g, the gradient of the student's loss in its parameter tensors."""
    if student.hvp_mode == "compiled":
        return _program(student, "gradient", lambda: grad(student.loss))(
            [part.detach() for part in parts], batch.images, batch.labels, batch.weights
        )
    return loss_and_gradient(student, parts, batch)[1]


def loss_and_gradient(student: Student, parts: Sequence[Tensor], batch: Batch) -> tuple[Tensor, Sequence[Tensor]]:
    """Return the student's loss and its gradient in the parameter tensors that ask for one, uncompiled."""
    with FirstOrderKernels():
        loss = student.loss(parts, batch.images, batch.labels, batch.weights)
    return loss.detach(), torch.autograd.grad(loss, [part for part in parts if part.requires_grad])


def hessian_vector_product(
    student: Student, parts: Sequence[Tensor], v: Sequence[Tensor], batch: Batch
) -> SecondDerivative:
    """Return the second derivative along ``v``, given as tensors, in the student's mode."""
    if student.hvp_mode == "reverse":
        return _reverse(student, parts, v, batch)
    inert = [part.detach() for part in parts]
    program = _program(student, "second derivative", lambda: lambda *given: reverse_over_reverse(student, *given))
    return SecondDerivative(*program(inert, v, batch.images, batch.labels, batch.weights))


def _reverse(student: Student, parts: Sequence[Tensor], v: Sequence[Tensor], batch: Batch) -> SecondDerivative:
    """Reverse over reverse; g itself is never formed."""
    return StepGraph.of(student, parts, batch, "graph").along(v)


@dataclass(frozen=True)
class StepGraph:
    """g on one micro-batch with the graph that it was taken by, from which its derivatives along any v follow.

    Attributes:
        gradients: g; NaN in weights of convolutions where it was not asked for by value.
        parts: the parameter tensors.
        images: augmented ones, that it depends on.
        labels: probabilities that it depends on.
        grad_logits: dl/dz at the logits z: <g, v> is <dl/dz, dz/dtheta v>.
    """

    gradients: Sequence[Tensor]
    parts: Sequence[Tensor]
    images: Float[Tensor, "B C H W"]
    labels: Float[Tensor, "B C"]
    grad_logits: Float[Tensor, "B C"]

    @classmethod
    def of(cls, student: Student, parts: Sequence[Tensor], batch: Batch, first: First) -> "StepGraph":
        """Take g by layers in closed form; ``first`` as of `SecondOrderKernels`."""
        images, labels = batch.images.detach().requires_grad_(), batch.labels.detach().requires_grad_()
        with SecondOrderKernels(first):
            logits = student.logits(parts, images)
            loss = cross_entropy(logits, labels, batch.weights)
            (grad_logits,) = torch.autograd.grad(loss, logits, create_graph=True)
            gradients = torch.autograd.grad(logits, parts, grad_logits, create_graph=True)
        return cls(gradients, parts, images, labels, grad_logits)

    def along(self, v: Sequence[Tensor]) -> SecondDerivative:
        """Return the second derivative along ``v``; the graph is freed."""
        *product, grad_images, grad_labels, moved = torch.autograd.grad(
            self.gradients,
            [*self.parts, self.images, self.labels, self.grad_logits],
            v,
            allow_unused=True,
            materialize_grads=True,
        )
        return SecondDerivative(product, grad_images, grad_labels, (self.grad_logits.detach() * moved).sum())


@dataclass(frozen=True)
class GradientGraph:
    """g on one micro-batch, in some of the parameter tensors, with the graph that it was taken by.

    Attributes:
        gradients: g, in these tensors; NaN in weights of convolutions where it was not asked for by value.
        images: that it depends on.
        labels: probabilities that it depends on.
    """

    gradients: Sequence[Tensor]
    images: Float[Tensor, "B C H W"]
    labels: Float[Tensor, "B C"]

    @classmethod
    def of(cls, student: Student, parts: Sequence[Tensor], batch: Batch, first: First) -> "GradientGraph":
        """Take g in those of the parameter tensors that ask for a gradient; ``first`` as of `SecondOrderKernels`."""
        images, labels = batch.images.detach().requires_grad_(), batch.labels.detach().requires_grad_()
        with SecondOrderKernels(first, last="images"):
            loss = student.loss(parts, images, labels, batch.weights)
            asked = [part for part in parts if part.requires_grad]
            return cls(torch.autograd.grad(loss, asked, create_graph=True), images, labels)

    def along(self, v: Sequence[Tensor]) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B C"]]:
        """Return d<g, v> in images and labels, without that in the parameters; the graph is freed."""
        given = [one.to(g.dtype) for one, g in zip(v, self.gradients, strict=True)]
        grad_images, grad_labels = torch.autograd.grad(self.gradients, [self.images, self.labels], given)
        return grad_images, grad_labels


def reverse_over_reverse(
    student: Student, parts: Sequence[Tensor], v: Sequence[Tensor], images: Tensor, labels: Tensor, weights: Tensor
) -> tuple[Sequence[Tensor], Tensor, Tensor, Tensor]:
    """Return the fields of a `SecondDerivative` as a function of plain tensors, that can be compiled or batched."""

    def projected(inner: Sequence[Tensor], shown: Tensor, probabilities: Tensor) -> Tensor:
        return inner_product(grad(student.loss)(inner, shown, probabilities, weights), v)

    (product, grad_images, grad_labels), value = grad_and_value(projected, argnums=(0, 1, 2))(parts, images, labels)
    return product, grad_images, grad_labels, value


def inner_product(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Return the inner product of two vectors that lie in tensors of the same shapes."""
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()


def _program(student: Student, name: str, make: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """Return a function compiled once a student: on CUDA into a graph that is launched as a whole.

    PyTorch keeps what it compiles and runs what it finds there, so that is a folder which nobody else can write to; by
    itself it takes one in `/tmp` with a name that can be guessed.
    """
    if name not in student.programs:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(private_folder(cache_root() / "compiled"))
        mode = "reduce-overhead" if next(student.network.parameters()).is_cuda else None
        student.programs[name] = torch.compile(make(), mode=mode, dynamic=False)
    return student.programs[name]
