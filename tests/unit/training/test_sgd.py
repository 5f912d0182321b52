"""SGD against torch.optim, and the coordinates' own rule against it and against its bounds."""

from __future__ import annotations

import pytest
import torch

from medistill.engine.coordinates import MomentumSGD
from medistill.training.sgd import sgd_step_


def gradients() -> list[torch.Tensor]:
    return list(torch.randn(5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


def theirs(momentum: float, decay: float) -> torch.Tensor:
    value = torch.ones(40, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([value], lr=0.1, momentum=momentum, weight_decay=decay)
    for gradient in gradients():
        value.grad = gradient.clone()
        optimiser.step()
    return value.detach()


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.5, 0.01)])
def test_the_step_in_place_is_that_of_torch(momentum, decay):
    value, velocity = torch.ones(40, dtype=torch.float64), torch.zeros(40, dtype=torch.float64)
    for gradient in gradients():
        sgd_step_(value, velocity, gradient.clone(), lr=0.1, momentum=momentum, weight_decay=decay)
    torch.testing.assert_close(value, theirs(momentum, decay), rtol=1e-14, atol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_a_coordinate_moves_likewise_and_what_it_was_stays(momentum):
    rule, value = MomentumSGD(0.1, momentum), torch.ones(40, dtype=torch.float64)
    moments = rule.moments(value)
    first, before = value, moments["velocity"]
    for gradient in gradients():
        value, moments = rule.update(value, gradient, moments)
    torch.testing.assert_close(value, theirs(momentum, 0.0), rtol=1e-13, atol=0)
    assert bool((first == 1).all())
    assert not before.any()


def test_a_bounded_step_stops_at_its_bound_but_the_velocity_does_not():
    rule, value = MomentumSGD(1.0, 0.5, largest_step=0.1), torch.zeros(3)
    value, moments = rule.update(value, torch.tensor([0.05, 4.0, -4.0]), rule.moments(value))
    torch.testing.assert_close(value, torch.tensor([-0.05, -0.1, 0.1]))
    assert moments["velocity"].tolist() == pytest.approx([0.05, 4.0, -4.0])
