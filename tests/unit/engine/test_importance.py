"""The weights W: reduction to MTT, the constraint, the direction, dead tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.trajectories import open_trajectories
from medistill.engine.importance import ImportanceRule, ImportanceSettings, ParameterGroups
from medistill.engine.matching import match
from medistill.engine.segment import Segment, StudentSteps
from tests.naive_unroll import problem

CPU = torch.device("cpu")


class Weights:
    """W with its velocity, moved step by step."""

    def __init__(self, settings, trajectories):
        self.groups = ParameterGroups.of(settings, trajectories, CPU)
        self.rule = ImportanceRule(settings, self.groups)
        self.values = self.groups.weights
        self.moments = self.rule.moments(self.values)

    def update(self, gradient):
        self.values, self.moments = self.rule.update(self.values, gradient, self.moments)


@pytest.fixture
def trajectories(tmp_path):
    """Two live tensors of 6 and 2 parameters and a dead one of 3 between them."""
    description = {
        "key": "k",
        "count": 1,
        "epochs": 1,
        "names": ["a.weight", "a.bias", "b.weight"],
        "shapes": [[2, 3], [3], [2]],
        "normalisation": Normalisation((0.0,), (1.0,)).as_json(),
    }
    store = open_trajectories(tmp_path, description)
    start = np.zeros(11, np.float32)
    end = np.array([1.0] * 6 + [0.0] * 3 + [2.0] * 2, np.float32)
    store.save_expert(0, np.stack([start, end]))
    return store


def test_all_ones_is_the_trajectory_matching_loss():
    network, segment, _ = problem(torch.float32, width=4, channels=1, size=8, count=2, steps=1, depth=1, classes=2)
    sizes = torch.tensor([p.numel() for p in network.parameters()])
    end = segment.start + 0.1
    matched = match(end, segment, torch.ones(len(sizes)), sizes)
    plain = (end - segment.target).square().sum() / (segment.start - segment.target).square().sum()
    assert float(matched.loss) == pytest.approx(float(plain), rel=1e-6)
    scalar = match(end, segment, torch.ones(len(end)), torch.ones(len(end), dtype=torch.int64))
    assert torch.equal(scalar.lambda_end, matched.lambda_end)


def test_dead_tensors_are_found_and_keep_weight_one(trajectories):
    importance = Weights(ImportanceSettings(lr=0.1), trajectories)
    assert importance.groups.live.tolist() == [True, False, True]
    for _ in range(20):
        importance.update(torch.tensor([1.0, 5.0, 0.1]))
    assert float(importance.values[1]) == 1


@pytest.mark.parametrize(("direction", "sign"), [("descent", -1), ("ascent", 1)])
def test_direction_and_constraint(trajectories, direction, sign):
    settings = ImportanceSettings(direction=direction, lr=0.05)
    importance = Weights(settings, trajectories)
    for _ in range(5):
        importance.update(torch.tensor([1.0, 0.0, 0.1]))
    weights = importance.values
    assert sign * float(weights[0] - weights[2]) > 0
    mean_square = (6 * weights[0] ** 2 + 2 * weights[2] ** 2) / 8
    assert float(mean_square) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("direction", ["descent", "ascent"])
def test_weighted_by_movement_the_loss_of_a_student_that_stands_still_stays_one(trajectories, direction):
    settings = ImportanceSettings(constraint="movement", direction=direction, lr=0.05)
    importance = Weights(settings, trajectories)
    start, target = (torch.from_numpy(trajectories.snapshot(0, epoch)) for epoch in (0, 1))
    segment = Segment(start, target, StudentSteps([], []))
    for gradient in ([1.0, 0.0, 0.1], [0.3, 0.0, 2.0], [1.0, 0.0, 0.0]):
        importance.update(torch.tensor(gradient))
        loss = match(start, segment, importance.values, importance.groups.sizes).loss
        assert float(loss) == pytest.approx(1, rel=1e-6)
    assert importance.values[0] != importance.values[2]


def test_literal_reading_shrinks_to_zero(trajectories):
    settings = ImportanceSettings(constraint="none", lr=0.5)
    importance = Weights(settings, trajectories)
    for _ in range(50):
        importance.update(2 * importance.values * torch.tensor([1.0, 0.0, 1.0]))
    assert float(importance.values[[0, 2]].abs().max()) < 1e-3


def test_frozen_stays_at_one(trajectories):
    settings = ImportanceSettings(direction="frozen", lr=10)
    importance = Weights(settings, trajectories)
    importance.update(torch.ones(3))
    assert importance.values.tolist() == [1, 1, 1]


@pytest.mark.parametrize(("granularity", "groups"), [("tensor", 3), ("layer", 2), ("scalar", 11)])
def test_granularity(trajectories, granularity, groups):
    importance = Weights(ImportanceSettings(granularity=granularity), trajectories)
    assert len(importance.values) == len(importance.groups.names) == groups
    assert int(importance.groups.sizes.sum()) == 11


def test_relative_start_weighs_each_live_group_by_its_relative_error(trajectories):
    importance = Weights(ImportanceSettings(start="relative"), trajectories)
    start, target = (torch.from_numpy(trajectories.snapshot(0, epoch)) for epoch in (0, 1))
    end = target + torch.linspace(0.1, 0.5, 11)
    end[6:9] = target[6:9]
    loss = match(end, Segment(start, target, StudentSteps([], [])), importance.values, importance.groups.sizes).loss
    error, moved = (end - target).square(), (start - target).square()
    relative = [error[k].sum() / moved[k].sum() for k in (slice(0, 6), slice(9, 11))]
    weighted = (6 * relative[0] + 2 * relative[1]) / 8
    scale = 8 / (6 / 1 + 2 / 4)  # so that the mean of w^2 over the eight live parameters is 1
    assert float(loss / weighted) == pytest.approx(scale * 8 / float(moved.sum()), rel=1e-5)
    assert float(importance.values[1]) == 1


def test_by_the_logarithm_a_step_multiplies(trajectories):
    settings = ImportanceSettings(scale="log", constraint="none", lr=0.1, momentum=0.0)
    importance = Weights(settings, trajectories)
    for _ in range(3):
        importance.update(torch.tensor([1.0, 0.0, -2.0]))
    u = np.zeros(3)
    for _ in range(3):
        u -= 0.1 * np.exp(u) * np.array([1.0, 0.0, -2.0])
    np.testing.assert_allclose(importance.values.numpy(), np.exp(u), rtol=1e-6)
