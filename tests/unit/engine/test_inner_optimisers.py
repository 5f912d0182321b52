"""How students move: against torch.optim, and their adjoint against autograd through the whole walk."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.engine.images import Images
from medistill.engine.inner_optimisers import Adam, InnerOptimiser, MomentumSGD, PlainSGD, Rates, StudentState
from medistill.engine.segment import StudentSteps
from medistill.engine.student import Student
from medistill.engine.unroll import Gradient, Unroll
from medistill.training.augmentation import augment
from tests.naive_students import live, naive_rule, naive_walk
from tests.naive_unroll import problem

SMALL = {"width": 5, "channels": 3, "size": 12, "count": 7, "depth": 2, "classes": 3}
OPTIMISERS = {
    "plain": (PlainSGD(), Rates(0.05)),
    "momentum": (MomentumSGD(), Rates(0.03, 0.8)),
    "momentum, decay": (MomentumSGD(weight_decay=0.1), Rates(0.03, 0.8)),
    "adam": (Adam(), Rates(0.01)),
    "adam, other betas": (Adam(first=0.5, second=0.9, eps=1e-4), Rates(0.01)),
}
BEGINNINGS = {"a fresh network": (0, False), "later, of nothing": (3, False), "in the middle of a walk": (3, True)}


def small(steps: int = 5) -> tuple[nn.Module, StudentState, StudentSteps, Images]:
    """A network with soft labels and uneven weights; batches of 4 to 6 of the 7 images, all augmentations drawn."""
    network, segment, images = problem(torch.float64, **SMALL, steps=steps)
    numbers = torch.Generator().manual_seed(4)
    batches = [rows[: 4 + number % 3] for number, rows in enumerate(segment.steps.batches)]
    draws = [drawn[: len(rows)] for drawn, rows in zip(segment.steps.draws, batches, strict=True)]
    labels = F.softmax(2 * images.labels + torch.randn(images.labels.shape, generator=numbers).double(), dim=1)
    weights = 0.5 + torch.rand(len(labels), generator=numbers, dtype=torch.float64)
    return network, StudentState(segment.start), StudentSteps(batches, draws), Images(images.pixels, labels, weights)


def begun(optimiser: InnerOptimiser, theta: Tensor, *, remembers: bool) -> StudentState:
    """A student with moments of 0, or with those of steps before: a mean of any sign, and of squares that fit it."""
    if not remembers:
        return optimiser.start(theta)
    numbers = torch.Generator().manual_seed(7)
    mean = 0.1 * torch.randn(len(theta), generator=numbers, dtype=theta.dtype)
    square = mean**2 + 0.01 * torch.rand(len(theta), generator=numbers, dtype=theta.dtype)
    return StudentState(theta, (mean, square)[: optimiser.moments])


def exact(
    network: nn.Module,
    images: Images,
    start: StudentState,
    steps: StudentSteps,
    way: tuple[InnerOptimiser, Rates],
    along: Tensor,
    *,
    first: int = 0,
    micro_batch: int = 3,
) -> tuple[Tensor, Gradient]:
    """Where the student ends, and the derivatives of <along, theta_J>."""
    unroll = Unroll(Student(network), *way, micro_batch)
    states = unroll.forward(images, start, steps, first)
    end = states[-1].theta.clone()
    return end, unroll.back(images, states, steps, along, first)


def naive(
    network: nn.Module,
    images: Images,
    start: StudentState,
    steps: StudentSteps,
    way: tuple[InnerOptimiser, Rates],
    along: Tensor,
    *,
    first: int = 0,
) -> tuple[Tensor, Gradient]:
    """The same by automatic differentiation through everything."""
    optimiser, rates = way
    leaves = [
        images.pixels.clone(),
        images.labels.clone(),
        *torch.tensor([rates.alpha, rates.momentum], dtype=torch.float64),
    ]
    pixels, labels, alpha, momentum = (leaf.requires_grad_() for leaf in leaves)
    rule = naive_rule(optimiser, alpha, momentum, start.moments, first)
    shown = Images(pixels, labels, images.weights)
    end = naive_walk(network, shown, start.theta.clone().requires_grad_(), steps, rule)
    found = torch.autograd.grad(end @ along, (pixels, labels, alpha, momentum), materialize_grads=True)
    return end.detach(), Gradient(*found)


def assert_same(mine: Gradient, reference: Gradient) -> None:
    for name in ("images", "labels", "alpha", "momentum"):
        one, other = getattr(mine, name), getattr(reference, name)
        assert float((one - other).norm()) <= 1e-12 * float(other.norm()), name


def direction(network: nn.Module) -> Tensor:
    seen = live(network)
    return seen * torch.randn(len(seen), generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def off(network: nn.Module, theta: Tensor, reference: Tensor) -> float:
    """How far parameters are from others, of those that are live."""
    seen = live(network)
    return float((seen * (theta - reference)).norm() / (seen * reference).norm())


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_student_goes_where_torch_optim_takes_the_network(name: str) -> None:
    optimiser, rates = OPTIMISERS[name]
    network, start, steps, images = small(6)
    states = Unroll(Student(network), optimiser, rates, 3).forward(images, optimiser.start(start.theta), steps)
    parameters = list(network.parameters())
    nn.utils.vector_to_parameters(start.theta.clone(), parameters)
    if isinstance(optimiser, Adam):
        betas = (optimiser.first, optimiser.second)
        moves = torch.optim.Adam(parameters, rates.alpha, betas, optimiser.eps)
    else:
        decay = optimiser.weight_decay if isinstance(optimiser, MomentumSGD) else 0.0
        moves = torch.optim.SGD(parameters, rates.alpha, rates.momentum, weight_decay=decay)
    for rows, drawn, state in zip(steps.batches, steps.draws, states[1:], strict=True):
        moves.zero_grad()
        losses = F.cross_entropy(network(augment(images.pixels[rows], drawn)), images.labels[rows], reduction="none")
        (images.weights[rows] * losses).mean().backward()
        moves.step()
        theta = nn.utils.parameters_to_vector(parameters).detach()
        assert off(network, state.theta, theta) < 1e-14


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_adjoint_equals_automatic_differentiation(name: str, beginning: str) -> None:
    (first, remembers), way = BEGINNINGS[beginning], OPTIMISERS[name]
    network, start, steps, images = small()
    start, along = begun(way[0], start.theta, remembers=remembers), direction(network)
    end, mine = exact(network, images, start, steps, way, along, first=first)
    expected, reference = naive(network, images, start, steps, way, along, first=first)
    assert off(network, end, expected) < 1e-13
    assert float(reference.images.norm()) > 0
    assert (float(reference.momentum) != 0) == name.startswith("momentum")
    assert_same(mine, reference)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_one_image_at_a_time_gives_what_all_at_once_give(name: str) -> None:
    way, (network, start, steps, images) = OPTIMISERS[name], small(4)
    start, along = way[0].start(start.theta), direction(network)
    ends, gradients = zip(
        *(exact(network, images, start, steps, way, along, micro_batch=size) for size in (1, 100)), strict=True
    )
    assert off(network, *ends) < 1e-13
    assert_same(*gradients)


@pytest.mark.parametrize("name", ["momentum, decay", "adam"])
def test_a_walk_may_be_cut_where_it_is_not_differentiated(name: str) -> None:
    optimiser, rates = OPTIMISERS[name]
    network, start, steps, images = small(5)
    unroll = Unroll(Student(network), optimiser, rates, 3)
    whole = unroll.forward(images, optimiser.start(start.theta), steps)
    before = unroll.last(images, optimiser.start(start.theta), steps[:2])
    after = unroll.forward(images, before, steps[2:], 2)
    assert all(torch.equal(a, b) for a, b in zip(before.moments, whole[2].moments, strict=True))
    assert [torch.equal(a.theta, b.theta) for a, b in zip(after, whole[2:], strict=True)] == [True] * 4
    wrong = unroll.forward(images, before, steps[2:], 0)
    assert torch.equal(wrong[-1].theta, whole[-1].theta) == (name != "adam"), "Adam counts the steps of the walk"


def test_a_step_leaves_the_student_before_it_as_it_was() -> None:
    numbers = torch.Generator().manual_seed(2)
    for optimiser, rates in OPTIMISERS.values():
        theta, gradient = torch.randn(2, 11, generator=numbers, dtype=torch.float64)
        before = begun(optimiser, theta, remembers=True)
        copies = [theta.clone(), *(moment.clone() for moment in before.moments)]
        optimiser.step(before, gradient, rates, 1)
        assert all(torch.equal(a, b) for a, b in zip((before.theta, *before.moments), copies, strict=True))


class Idle(nn.Module):
    """A network with parameters that it never looks at: their gradient is 0 to the last bit."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.empty(4))
        self.hidden = nn.Linear(16, 6)
        self.classifier = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 4, 4) -> (N, 3)."""
        return self.classifier(self.hidden(images.flatten(1)).tanh()) + 0 * self.idle.sum()


@pytest.mark.parametrize("remembers", [False, True])
def test_under_adam_a_parameter_without_a_gradient_neither_moves_nor_spoils_the_derivatives(remembers: bool) -> None:
    network, numbers = Idle().double(), torch.Generator().manual_seed(3)
    theta = torch.randn(sum(p.numel() for p in network.parameters()), generator=numbers, dtype=torch.float64)
    pixels = torch.randn(5, 1, 4, 4, generator=numbers, dtype=torch.float64)
    labels = torch.eye(3, dtype=torch.float64)[torch.arange(5) % 3]
    images = Images(pixels, labels, torch.ones(5, dtype=torch.float64))
    _, segment, _ = problem(torch.float64, **SMALL, steps=4)
    steps = StudentSteps([torch.arange(5)] * 4, [replace(one[:5], operations=()) for one in segment.steps.draws])
    way, first = OPTIMISERS["adam"], 2 if remembers else 0
    start = begun(way[0], theta, remembers=remembers)
    for moment in start.moments:
        moment[:4] = 0
    end, mine = exact(network, images, start, steps, way, direction(network), first=first)
    _, reference = naive(network, images, start, steps, way, direction(network), first=first)
    assert torch.equal(end[:4], theta[:4])
    assert not torch.equal(end[4:], theta[4:])
    assert bool(torch.isfinite(mine.images).all())
    assert_same(mine, reference)


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kept_graphs_change_no_bit_and_are_not_computed_again(name: str, dtype: torch.dtype) -> None:
    """Of batches of 4, 5, 6, 4 and 5 images, those of 6 are walked in micro-batches, and leave no graph."""
    network, start, steps, images = small()
    network, theta = network.to(dtype), start.theta.to(dtype)
    images = Images(*(one.to(dtype) for one in (images.pixels, images.labels, images.weights)))
    along = torch.randn(len(theta), generator=torch.Generator().manual_seed(2), dtype=dtype)
    found, passes = [], []
    for graphs in (0, 1, 4, 99):
        student = Student(network)
        unroll = Unroll(student, *OPTIMISERS[name], 5, graphs)
        calls: list[int] = []
        student.logits = lambda parts, shown, calls=calls, plain=student.logits: (  # type: ignore[method-assign]
            calls.append(len(shown)) or plain(parts, shown)
        )
        states = unroll.forward(images, begun(OPTIMISERS[name][0], theta, remembers=False), steps)
        ends = [state.theta.clone() for state in states]
        made = unroll.back(images, states, steps, along)
        found.append([*ends, made.images, made.labels, made.alpha, made.momentum])
        passes.append(len(calls))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    assert passes == [12, 11, 9, 8]


def test_what_is_compiled_keeps_no_graph() -> None:
    network, start, steps, images = small()
    student = Student(network, "compiled", graphs=99)
    student.programs["gradient"] = lambda parts, *_: [torch.zeros_like(part) for part in parts]
    states = Unroll(student, PlainSGD(), Rates(0.05), 9, student.graphs).forward(images, start, steps)
    assert {type(state) for state in states} == {StudentState}
