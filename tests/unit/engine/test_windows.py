"""Which steps are differentiated: each rule against a loop, and the walk that a window is cut out of."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from medistill.engine.coordinates import Adam as OuterAdam
from medistill.engine.images import Images
from medistill.engine.inner_optimisers import Adam, InnerOptimiser, MomentumSGD, Rates
from medistill.engine.learned_rates import LearnedRates
from medistill.engine.objectives.unrolled import DrawnUnroll, Unrolled
from medistill.engine.sources.walks import Walks, WalkSettings
from medistill.engine.sources.windows import NormWindow, RandomWindows, StagedWindows, WindowRule
from medistill.engine.student import Student
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.augmentation import augment, draw
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator

CPU = torch.device("cpu")
SPEC = NetworkSpec(NetworkRecipe(depth=1, width=4), 1, 8, 3)
TURNED = AugmentationRecipe(operations=("flip", "rotate"))
IMAGES = Images(
    torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64),
    F.one_hot(torch.arange(6) % 3, 3).double(),
    torch.ones(6, dtype=torch.float64),
)


def walks(settings: WalkSettings, rule: WindowRule) -> Walks:
    return Walks(SPEC, settings, TURNED, 5, CPU, rule)


def by_loop(norms: list[float], pick: float, window: int, spread: int, mirrored: bool) -> tuple[int, int]:
    """Begin and size of a window, as it is told in words."""
    top = max(norms)
    shares = [math.exp(norm - top) for norm in norms]
    drawn, reached = 0, shares[0] / sum(shares)
    while reached < pick and drawn < len(norms) - 1:
        drawn += 1
        reached += shares[drawn] / sum(shares)
    if mirrored:
        size = window - spread
        begin = len(norms) - drawn - size
        return max(begin, 0), size
    changes = [0.0] + [abs(after - before) for before, after in pairwise(norms)]
    rank = sorted(changes).index(changes[drawn])
    size = window - spread
    while len(norms) * (size + 1 - window + spread) <= 2 * spread * rank:
        size += 1
    begin = drawn
    while begin + size > len(norms):
        begin -= 1
    return begin, size


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_a_window_by_norms_is_that_of_a_loop(mirrored: bool, scale: float) -> None:
    numbers = torch.Generator().manual_seed(int(10 * scale))
    seen = set()
    for _ in range(60):
        norms = scale * torch.rand(12, generator=numbers)
        norms[3] = norms[2]
        norms[7] = norms[6]
        pick = float(torch.rand((), generator=numbers, dtype=torch.float64))
        found = NormWindow(pick, 5, 2, mirrored).of(norms)
        assert (found.start, len(found)) == by_loop(norms.double().tolist(), pick, 5, 2, mirrored)
        assert 0 <= found.start < found.stop <= 12
        assert 3 <= len(found) <= 7
        seen.add((found.start, len(found)))
    assert len(seen) > 3


def test_windows_begin_as_often_as_the_softmax_of_the_norms_says() -> None:
    norms, count = torch.tensor([0.0, 2.0, 1.0, 0.5, 0.0, 0.0]), 4000
    begins = [NormWindow((k + 0.5) / count, 1, 0, mirrored=False).of(norms).start for k in range(count)]
    found = torch.bincount(torch.tensor(begins), minlength=6) / count
    torch.testing.assert_close(found, F.softmax(norms, dim=0), atol=1e-3, rtol=0)
    mirrored = [NormWindow((k + 0.5) / count, 1, 0, mirrored=True).of(norms).start for k in range(count)]
    assert torch.equal(torch.bincount(torch.tensor(mirrored), minlength=6) / count, found.flip(0))


@pytest.mark.parametrize("pick", [0.0, 1.0])
def test_the_ends_of_what_can_be_picked_are_steps(pick: float) -> None:
    assert NormWindow(pick, 2, 0, mirrored=False).of(torch.ones(5)) == (range(2) if pick == 0 else range(3, 5))


@pytest.mark.parametrize(("steps", "window"), [(9, 4), (5, 5)])
def test_random_windows_are_those_that_a_loop_draws(steps: int, window: int) -> None:
    source, begun = walks(WalkSettings(steps, window, batch_syn=2), RandomWindows()), set()
    for iteration in range(30):
        drawn, numbers = source.draw(iteration, torch.arange(6)), generator(5, "walk", iteration)
        start = torch.cat([p.detach().flatten() for p in build_network(SPEC, numbers, CPU).parameters()])
        begins = int(torch.randint(steps - window + 1, (), generator=numbers))
        assert torch.equal(drawn.start, start)
        assert (drawn.begins, len(drawn.steps), drawn.by_norms) == (begins, begins + window, None)
        first = torch.randperm(6, generator=numbers)
        assert torch.equal(drawn.steps.batches[0], first[:2])
        begun.add(begins)
    assert begun == set(range(steps - window + 1))


def test_the_stages_follow_each_other() -> None:
    rule = StagedWindows(2, iterations=12, steep_until=0.25, uniform_until=0.75)
    source = walks(WalkSettings(10, 4), rule)
    for iteration in range(12):
        drawn = source.draw(iteration, torch.arange(6))
        if 3 <= iteration < 9:
            assert drawn.by_norms is None
            assert len(drawn.steps) - drawn.begins == 6
            continue
        assert len(drawn.steps) == 10
        assert drawn.by_norms is not None
        assert (drawn.by_norms.window, drawn.by_norms.spread) == (4, 2)
        assert drawn.by_norms.mirrored == (iteration >= 9)
        again = source.draw(iteration, torch.arange(6)).by_norms
        assert again == drawn.by_norms
        assert again != source.draw(11 - iteration, torch.arange(6)).by_norms
    ends = {source.draw(iteration, torch.arange(6), number).begins for iteration in (4, 5) for number in range(25)}
    assert ends == {0, 1, 2, 3, 4}


def objective(optimiser: InnerOptimiser) -> Unrolled:
    student = Student(build_network(SPEC, generator(0, "student"), CPU).double())
    rates = LearnedRates(Rates(0.05, 0.9), OuterAdam(0.01))
    nothing = cast(Any, None)
    return Unrolled(student, nothing, nothing, optimiser, rates, TURNED, classes=3, seed=0)


def drawn_unroll(rule: WindowRule, iteration: int) -> DrawnUnroll:
    walk = walks(WalkSettings(7, 3, batch_syn=4), rule).draw(iteration, torch.arange(6))
    numbers = torch.Generator().manual_seed(1)
    originals = LabelledImages.of_floats(torch.randn(9, 1, 8, 8, generator=numbers), torch.arange(9) % 3)
    augmentation = draw(TURNED, 9, numbers, CPU)
    return DrawnUnroll(replace(walk, start=walk.start.double()), originals, augmentation)


@pytest.mark.parametrize("optimiser", [MomentumSGD(5e-4), Adam()], ids=["momentum", "adam"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_window_by_norms_gives_what_the_same_window_fixed_before_gives(
    optimiser: InnerOptimiser, mirrored: bool
) -> None:
    made = objective(optimiser)
    drawn = drawn_unroll(StagedWindows(1, 4, 0.0 if mirrored else 1.0, 0.0 if mirrored else 1.0), 2)
    assert drawn.walk.by_norms is not None
    assert drawn.walk.by_norms.mirrored == mirrored
    learned = {name: one.start for name, one in made.coordinates().items()}
    found = made.evaluate(IMAGES, learned, drawn, 6)

    network, norms = made.student.network, []
    theta = [part.detach().clone().requires_grad_() for part in made.student.parts(drawn.walk.start)]
    reference: torch.optim.Optimizer = (
        torch.optim.Adam(theta, lr=0.05)
        if isinstance(optimiser, Adam)
        else torch.optim.SGD(theta, lr=0.05, momentum=0.9, weight_decay=5e-4)
    )
    for rows, turned in zip(drawn.walk.steps.batches, drawn.walk.steps.draws, strict=True):
        named = dict(zip(made.student.names, theta, strict=True))
        logits = functional_call(network, named, (augment(IMAGES.pixels[rows], turned),))
        gradients = torch.autograd.grad(F.cross_entropy(logits, IMAGES.labels[rows]), theta)
        norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
        for leaf, gradient in zip(theta, gradients, strict=True):
            leaf.grad = gradient
        reference.step()
    begin, size = by_loop(norms, drawn.walk.by_norms.pick, 3, 1, mirrored)
    fixed = replace(drawn.walk, steps=drawn.walk.steps[: begin + size], begins=begin, by_norms=None)
    expected = made.evaluate(IMAGES, learned, replace(drawn, walk=fixed), 6)
    assert found.loss == expected.loss
    assert torch.equal(found.grad_images, expected.grad_images)
    assert float(found.grad_images.abs().max()) > 0
    assert torch.equal(found.grad_learned["log_alpha"], expected.grad_learned["log_alpha"])


def test_the_members_that_a_run_begins_with_are_of_all_ages_and_those_that_follow_are_young() -> None:
    settings, rule = WalkSettings(steps=60, window=5, pool=40), RandomWindows()
    first = [rule.draw(settings, k, generator(0, "walk", k)) for k in range(40)]
    later = [rule.draw(settings, k, generator(0, "walk", k)) for k in range(40, 400)]
    assert min(one.start for one in first) < 10
    assert max(one.start for one in first) > 45
    assert {one.start for one in later} == {0, 1, 2, 3, 4}
    assert all(len(one) == 5 and one.stop <= 60 for one in first + later)
