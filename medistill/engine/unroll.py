"""The unrolled student and its exact gradient, in the memory of one step.

Forward, theta_{t+1} = theta_t - alpha g_t with g_t the gradient of the student's loss on batch t, or as another inner
optimiser moves. Only the J + 1 states are kept, and the graphs of the last steps where that is asked for, which then
are not computed again. Backward, with lambda_J = dL/dtheta_J, for t = J-1 .. 0 and plain SGD:

    (H_t v, dX_t) = gradient of <g_t, v> in (theta_t, X_t), where v = lambda_{t+1}
    dL/dX     -= alpha dX_t, and alike for the labels' probabilities Y
    dL/dalpha -= <g_t, v>
    lambda_t   = v - alpha H_t v

Another optimiser gives another v, the direction of dL/dg_t, and carries the derivatives in its moments along
(`medistill.engine.inner_optimisers`). This is the number that automatic differentiation through the whole unrolled loop
gives, since each line is the chain rule of one step; but only one step's graph is alive at a time. Instance norm treats
every image by itself, so a step is a sum over images and may be walked in micro-batches.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from medistill.engine.derivative import Batch, SecondDerivative, StepGraph, gradient, hessian_vector_product
from medistill.engine.images import Images
from medistill.engine.inner_optimisers import InnerOptimiser, Rates, StudentState
from medistill.engine.segment import StudentSteps
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
        momentum: in its momentum; 0 where it has none.
    """

    images: Float[Tensor, "N C H W"]
    labels: Float[Tensor, "N C"]
    alpha: Float[Tensor, ""]
    momentum: Float[Tensor, ""]


SecondAlong = Callable[[Sequence[Tensor]], SecondDerivative]
"""v, as tensors -> the second derivative of a micro-batch along it."""


@dataclass(frozen=True)
class KeptState(StudentState):
    """A student before a step whose graph the walk forward left.

    Attributes:
        leaf: the step's images before augmentation.
        batch: that it trained on, with the graph from these.
        graph: of its gradient.
    """

    leaf: Float[Tensor, "B C H W"] = field(kw_only=True)
    batch: Batch = field(kw_only=True)
    graph: StepGraph = field(kw_only=True)


@dataclass(frozen=True)
class Unroll:
    """How a student walks.

    Attributes:
        student: the network as a function.
        optimiser: how it moves.
        rates: of the optimiser.
        micro_batch: images that pass the network at once.
        graphs: the last steps of a walk whose graph is kept for the walk back, where their images pass at once.
    """

    student: Student
    optimiser: InnerOptimiser
    rates: Rates
    micro_batch: int
    graphs: int = 0

    def forward(self, images: Images, start: StudentState, steps: StudentSteps, first: int = 0) -> list[StudentState]:
        """Walk the steps and keep every state: J + 1 of them.

        Args:
            images: all distilled images.
            start: the student before the steps.
            steps: what each trains on.
            first: number of the first of them in the student's life.
        """
        states = [start]
        for step in range(len(steps)):
            if step >= len(steps) - self.graphs and self._keeps(steps, step):
                states[-1], gradient = _kept(self.student, images, states[-1], steps, step)
                states.append(self.optimiser.step(states[-1], gradient, self.rates, first + step))
            else:
                states.append(self._step(images, states[-1], steps, step, first))
        return states

    def measured(
        self, images: Images, start: StudentState, steps: StudentSteps
    ) -> tuple[list[StudentState], Float[Tensor, " J"]]:
        """Walk a student's first steps, keep every state, and return the norms of the gradients g_t beside them."""
        states, norms = [start], []
        for step in range(len(steps)):
            gradient = self._gradient(images, states[-1], steps, step)
            norms.append(torch.linalg.vector_norm(gradient))
            states.append(self.optimiser.step(states[-1], gradient, self.rates, step))
        return states, torch.stack(norms)

    def last(self, images: Images, start: StudentState, steps: StudentSteps, first: int = 0) -> StudentState:
        """Walk the steps and keep the last state alone; arguments as for `forward`."""
        state = start
        for step in range(len(steps)):
            state = self._step(images, state, steps, step, first)
        return state

    def back(
        self,
        images: Images,
        states: list[StudentState],
        steps: StudentSteps,
        lambda_end: Float[Tensor, " P"],
        first: int = 0,
        inner: Mapping[int, Float[Tensor, " P"]] | None = None,
    ) -> Gradient:
        """Walk back from dL/dtheta_J to the derivatives in images, labels and rates, emptying ``states`` on the way.

        Args:
            images: all distilled images.
            states: as `forward` gave them.
            steps: as for `forward`.
            lambda_end: dL/dtheta_J; the optimiser's last moments have no part in the loss.
            first: as for `forward`.
            inner: dL/dtheta_t of states before the last that the loss looks at too, by t; each joins lambda_t.
        """
        grad_images, grad_labels = torch.zeros_like(images.pixels), torch.zeros_like(images.labels)
        grad_alpha, grad_momentum = lambda_end.new_zeros(()), lambda_end.new_zeros(())
        costate = StudentState(lambda_end, tuple(torch.zeros_like(lambda_end) for _ in states[-1].moments))
        after = states.pop()
        for step in range(len(steps) - 1, -1, -1):
            before = states.pop()
            back = self.optimiser.back(before, after, costate, self.rates, first + step)
            rows = steps.batches[step]
            second, grad_leaf = self._second(images, before, back.direction, steps, step)
            grad_images.index_add_(0, rows, grad_leaf, alpha=back.scale)
            grad_labels.index_add_(0, rows, second.labels, alpha=back.scale)
            grad_alpha += -second.along if back.alpha is None else back.alpha
            if back.momentum is not None:
                grad_momentum += back.momentum
            costate = StudentState(second.theta.mul_(back.scale).add_(back.costate.theta), back.costate.moments)
            if inner and step in inner:
                costate.theta.add_(inner[step])
            after = before
        return Gradient(grad_images, grad_labels, grad_alpha, grad_momentum)

    def _second(
        self, images: Images, before: StudentState, v: Float[Tensor, " P"], steps: StudentSteps, step: int
    ) -> tuple["StepSecondDerivative", Float[Tensor, "B C H W"]]:
        """Return the derivatives of <g_t, v>, and that in the step's images before augmentation."""
        if isinstance(before, KeptState):
            found = _summed(self.student, v, before.batch, [(slice(None), before.graph.along)])
            return found, torch.autograd.grad(before.batch.images, before.leaf, found.images)[0]
        leaf = images.pixels[steps.batches[step]].detach().requires_grad_()
        batch = step_batch(images, steps, step, leaf)
        found = step_hessian_vector_product(self.student, before.theta, v, batch, self.micro_batch)
        return found, torch.autograd.grad(batch.images, leaf, found.images)[0]

    def _keeps(self, steps: StudentSteps, step: int) -> bool:
        """Whether the graph of a step can be kept: of what is compiled there is none."""
        return self.student.hvp_mode == "reverse" and len(steps.batches[step]) <= self.micro_batch

    def _step(self, images: Images, state: StudentState, steps: StudentSteps, step: int, first: int) -> StudentState:
        gradient = self._gradient(images, state, steps, step)
        return self.optimiser.step(state, gradient, self.rates, first + step)

    def _gradient(self, images: Images, state: StudentState, steps: StudentSteps, step: int) -> Float[Tensor, " P"]:
        with torch.no_grad():
            batch = step_batch(images, steps, step)
        return step_gradient(self.student, state.theta, batch, self.micro_batch)


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


def step_batch(images: Images, steps: StudentSteps, step: int, pixels: Tensor | None = None) -> Batch:
    """Return what step ``step`` trains on; ``pixels`` stand for the images of its rows, before augmentation."""
    rows = steps.batches[step]
    augmented = augment(images.pixels[rows] if pixels is None else pixels, steps.draws[step])
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
    parts, inert = student.parts(theta), Batch(batch.images.detach(), batch.labels, batch.weights)
    pieces = ((rows, partial(_along, student, parts, piece)) for rows, piece in _pieces(student, inert, micro_batch))
    return _summed(student, v, batch, pieces)


def _along(student: Student, parts: Sequence[Tensor], piece: Batch, v: Sequence[Tensor]) -> SecondDerivative:
    return hessian_vector_product(student, parts, v, piece)


def _summed(
    student: Student, v: Float[Tensor, " P"], batch: Batch, pieces: Iterable[tuple[slice, SecondAlong]]
) -> StepSecondDerivative:
    """Return the sum over micro-batches, each with its rows and what gives its second derivative."""
    along, total = split(v, student.shapes), torch.zeros_like(v)
    sums = split(total, student.shapes)
    grad_images, grad_labels = torch.empty_like(batch.images), torch.empty_like(batch.labels)
    value = torch.zeros((), dtype=v.dtype, device=v.device)
    for rows, second_along in pieces:
        second = second_along(along)
        for into, product in zip(sums, second.parts, strict=True):
            into.add_(product)
        count = len(grad_labels[rows])
        grad_images[rows], grad_labels[rows] = second.images[:count], second.labels[:count]
        value += second.along
    return StepSecondDerivative(total, grad_images, grad_labels, value)


def _kept(
    student: Student, images: Images, state: StudentState, steps: StudentSteps, step: int
) -> tuple[KeptState, Float[Tensor, " P"]]:
    """Return a student with the graph of its next step, and g_t, as `step_gradient` gives it."""
    leaf = images.pixels[steps.batches[step]].detach().requires_grad_()
    batch, total = step_batch(images, steps, step, leaf), torch.zeros_like(state.theta)
    graph = StepGraph.of(student, student.parts(state.theta), batch, "weights")
    for into, g in zip(split(total, student.shapes), graph.gradients, strict=True):
        into.add_(g.detach())
    return KeptState(state.theta, state.moments, leaf=leaf, batch=batch, graph=graph), total


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
