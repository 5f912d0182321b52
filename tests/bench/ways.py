"""The ways of having the image gradient that a bench compares, and the problems that it compares them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from medistill.allocator import keep_freed_memory
from medistill.engine.images import Images
from medistill.engine.inner_optimisers import PlainSGD, Rates, StudentState
from medistill.engine.matching import match
from medistill.engine.segment import Segment
from medistill.engine.student import Student
from medistill.engine.unroll import Unroll, step_batch
from medistill.networks.flat import split
from medistill.networks.footprint import micro_batch_size
from tests.factories.student_walk import segment_on, walk, walk_back
from tests.naive_unroll import naive_gradient, problem

SETTINGS = {
    "ipc1": {"width": 128, "channels": 3, "size": 32, "count": 10, "depth": 3, "steps": 50},
    "ipc10": {"width": 128, "channels": 3, "size": 32, "count": 100, "depth": 3, "steps": 20},
    "ipc50": {"width": 128, "channels": 3, "size": 32, "count": 500, "depth": 3, "steps": 20},
}
"""ConvNet-3 of width 128 on ten classes of 3 x 32 x 32 pixels, all DSA operations."""
ALPHA = 0.01
Problem = tuple[nn.Module, Segment, Images]


def made(setting: str, *, steps: int | None = None, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Problem:
    """A setting's network, segment and images, drawn in fp32 and turned to ``dtype``; ``steps`` of its own number."""
    chosen = SETTINGS[setting]
    network, segment, images = problem(torch.float32, **{**chosen, "steps": steps or chosen["steps"]})
    pixels, labels, weights = (t.to(device, dtype) for t in (images.pixels, images.labels, images.weights))
    turned = Images(pixels, labels, weights)
    return network.to(device, dtype), segment_on(segment, device, dtype), turned


def first_steps(given: Problem, steps: int) -> Problem:
    """The same problem with fewer steps."""
    network, segment, images = given
    return network, replace(segment, steps=segment.steps[:steps]), images


def naive(network: nn.Module, segment: Segment, images: Images, student: Student) -> Tensor:
    """Automatic differentiation through the whole loop, as MTT's reference code does."""
    return naive_gradient(network, segment, images, ALPHA)[1]


def exact(network: nn.Module, segment: Segment, images: Images, student: Student) -> Tensor:
    """The gradient as the outer loop takes it, in the student's mode."""
    micro_batch = micro_batch_size(network, tuple(images.pixels.shape[1:]))
    thetas = walk(student, images, ALPHA, segment, micro_batch)
    end = _end(student, thetas[-1], segment)
    return walk_back(student, images, ALPHA, segment, thetas, end, micro_batch).images


def graphs_kept(network: nn.Module, segment: Segment, images: Images, student: Student) -> Tensor:
    """The exact gradient with the graph of every step kept from the walk forward, in the memory of naive autograd."""
    micro_batch = micro_batch_size(network, tuple(images.pixels.shape[1:]))
    unroll = Unroll(student, PlainSGD(), Rates(ALPHA), micro_batch, graphs=len(segment.steps))
    states = unroll.forward(images, StudentState(segment.start), segment.steps)
    end = _end(student, states[-1].theta, segment)
    return unroll.back(images, states, segment.steps, end).images


def first_order(network: nn.Module, segment: Segment, images: Images, student: Student) -> Tensor:
    """TESLA's: every step's parameters count as constants, so the gradient takes one step's memory and is biased."""
    thetas = walk(student, images, ALPHA, segment, len(images.labels))
    against = split(_end(student, thetas[-1], segment), student.shapes)
    of_images = torch.zeros_like(images.pixels)
    for step, rows in enumerate(segment.steps.batches):
        leaf = images.pixels[rows].detach().requires_grad_()
        batch = step_batch(images, segment.steps, step, leaf)
        parts = student.parts(thetas[step])
        loss = student.loss(parts, batch.images, batch.labels, batch.weights)
        gradient = torch.autograd.grad(loss, parts, create_graph=True)
        (of_leaf,) = torch.autograd.grad(gradient, leaf, against)
        of_images.index_add_(0, rows, of_leaf, alpha=-ALPHA)
    return of_images


def _end(student: Student, theta: Tensor, segment: Segment) -> Tensor:
    sizes = torch.tensor([torch.Size(shape).numel() for shape in student.shapes])
    return match(theta, segment, torch.ones(len(sizes), dtype=theta.dtype, device=theta.device), sizes).lambda_end


WAYS: dict[str, Callable[[nn.Module, Segment, Images, Student], Tensor]] = {
    "naive": naive,
    "reverse": exact,
    "graphs kept": graphs_kept,
    "compiled": exact,
    "first order": first_order,
}
"""Naive autograd, the exact gradient in its two modes and with graphs kept, and the first-order one that stands for
TESLA."""


def ready(way: str, network: nn.Module) -> Callable[[Problem], Tensor]:
    """A way, with the student and the settings of the process that the product would make."""
    student = Student(network, "compiled" if way == "compiled" else "reverse")
    if WAYS[way] in (exact, graphs_kept):
        keep_freed_memory()
    return lambda given: WAYS[way](*given, student)
