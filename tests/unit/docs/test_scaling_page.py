"""The plan past these machines: its model, its queue against closed forms, and the page that shows its tables."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medistill.networks.convnet import ConvNet
from medistill.recipe import MatchingRecipe, load_recipe
from tests.bench.job_queue import Faults, JobQueue, mean_makespan
from tests.bench.scaling import CHOSEN_SHARE, TESTED_SHARE, Machines, Plan, Stage, page_tables, sizes, stages

PAGE = Path(__file__).resolve().parents[3] / "docs" / "scaling.md"
SMALL = Plan(1_000, 64)


def hours(plan: Plan, machines: Machines) -> float:
    return sum(stage.hours(machines) for stage in stages(plan))


def test_the_page_shows_what_the_module_prints() -> None:
    page = PAGE.read_text(encoding="utf-8")

    for table in page_tables((100.0, 1000.0)).strip().split("\n\n"):
        assert table in page, "run: python -m tests.bench.scaling, and put its tables into docs/scaling.md"


def test_the_plan_has_the_settings_of_the_recipe() -> None:
    recipe = load_recipe("covid-xray")
    assert isinstance(recipe.method, MatchingRecipe)
    method, evaluate, schedule = recipe.method, recipe.evaluate, recipe.schedule

    assert (SMALL.experts, SMALL.epochs) == (method.experts.count, method.experts.epochs)
    assert (SMALL.student_steps, SMALL.batch_syn) == (method.syn_steps, method.batch_syn)
    assert (SMALL.ipc, SMALL.segments, SMALL.steps) == (method.ipc, method.segments, method.iterations)
    assert (SMALL.networks, SMALL.arms) == (evaluate.networks, len(evaluate.arms) + 1)
    assert (SMALL.searched, SMALL.ways, SMALL.updates) == (schedule.networks, len(schedule.rates), schedule.updates)
    assert (SMALL.most_updates, schedule.batch_sizes) == (schedule.most_updates, (SMALL.batch,))
    assert (SMALL.shadows, SMALL.shadow_experts) == (recipe.audit.shadows, recipe.audit.shadow_experts)
    assert SMALL.shadow_steps == recipe.audit.shadow_iterations
    assert (recipe.data.val_fraction, recipe.data.test_fraction) == (CHOSEN_SHARE, TESTED_SHARE)
    assert replace(SMALL, side=recipe.data.image_size).depth == recipe.network.depth
    assert SMALL.width == recipe.network.width


@pytest.mark.parametrize("side", [32, 50, 112])
def test_work_and_parameters_are_those_of_the_network(side: int) -> None:
    plan = Plan(1_000, side, width=8)
    network, counted = ConvNet(1, side, plan.classes, depth=plan.depth, width=plan.width), []

    def count(module: nn.Module, _: tuple[torch.Tensor, ...], answer: torch.Tensor) -> None:
        counted.append(module.weight[0].numel() * answer[0].numel())

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    network(torch.zeros(1, 1, side, side))

    assert plan.work == sum(counted)
    assert plan.parameters == sum(values.numel() for values in network.parameters())


@pytest.mark.parametrize(
    "longer", [{"images": 2_000}, {"side": 128}, {"width": 256}, {"experts": 200}, {"segments": 2}]
)
@pytest.mark.parametrize("gpus", [1, 8, 64])
def test_more_work_takes_longer_and_no_less_room(longer: dict[str, int], gpus: int) -> None:
    machines, more = Machines(gpus, 100.0), replace(SMALL, **longer)

    assert sum(stage.core_seconds for stage in stages(more)) > sum(stage.core_seconds for stage in stages(SMALL))
    assert hours(more, machines) >= hours(SMALL, machines)
    assert all(size >= before for size, before in zip(sizes(more, 8).values(), sizes(SMALL, 8).values(), strict=True))


def test_more_or_faster_gpus_never_take_longer() -> None:
    taken = [hours(SMALL, Machines(gpus, 100.0)) for gpus in (1, 2, 8, 64, 500)]

    assert taken == sorted(taken, reverse=True)
    assert taken[0] > taken[-1]
    assert hours(SMALL, Machines(8, 200.0)) < hours(SMALL, Machines(8, 100.0))


def test_a_stage_of_one_job_gains_nothing_from_a_second_gpu() -> None:
    assert Stage("one", 3600.0).hours(Machines(64, 10.0)) == Stage("one", 3600.0).hours(Machines(1, 10.0)) == 0.1


@pytest.mark.parametrize(("jobs", "ranks"), [(100, 1), (100, 8), (100, 64), (3, 64), (16, 16)])
def test_equal_jobs_that_never_fail_take_as_many_rounds_as_the_model_says(jobs: int, ranks: int) -> None:
    played = mean_makespan(jobs, 2.0, 0.0, ranks, Faults(), repeats=1)

    assert played == pytest.approx(2.0 * math.ceil(jobs / ranks))
    assert played == pytest.approx(Stage("jobs", jobs * 2.0 * 3600, jobs).hours(Machines(ranks, 1.0)))


def test_unequal_jobs_are_taken_in_order_by_whoever_is_free() -> None:
    queue = JobQueue(np.array([3.0, 1.0, 1.0, 2.0]), 2, Faults(), np.random.default_rng(0))

    assert queue.makespan() == 4.0  # the second rank does 1, 1 and 2


@pytest.mark.parametrize("together", [False, True])
def test_one_rank_that_dies_takes_the_time_of_the_closed_form(together: bool) -> None:
    """A job of d hours under deaths at rate r and restarts of s hours: (exp(rd) - 1)(1/r + s) hours on average."""
    rate, delay, mean, jobs = 0.5, 0.2, 1.0, 2_000
    expected = jobs * (math.exp(rate * mean) - 1) * (1 / rate + delay)

    played = mean_makespan(jobs, mean, 0.0, 1, Faults(rate, delay, together=together), repeats=5)

    assert played == pytest.approx(expected, rel=0.03)


def test_failures_of_all_cost_more_than_failures_of_one() -> None:
    none, one, together = (
        mean_makespan(100, 1.0, 0.3, 8, faults, repeats=50)
        for faults in (Faults(), Faults(0.05, 0.1), Faults(0.05, 0.1, together=True))
    )

    assert none < one < together
