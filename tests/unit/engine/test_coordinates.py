"""Adam on coordinates, its clipping and its falling rate: against torch.optim and loops written out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medistill.engine.coordinates import Adam


def moved(rule: Adam, gradients: list[Tensor]) -> Tensor:
    value = torch.linspace(-1, 1, gradients[0].numel(), dtype=torch.float64).view_as(gradients[0])
    moments = rule.moments(value)
    for gradient in gradients:
        value, moments = rule.update(value, gradient, moments)
    return value


def torch_adam(gradients: list[Tensor], rates: list[float]) -> Tensor:
    value = torch.linspace(-1, 1, gradients[0].numel(), dtype=torch.float64).view_as(gradients[0]).requires_grad_()
    optimiser = torch.optim.Adam([value], lr=1.0)
    for gradient, rate in zip(gradients, rates, strict=True):
        optimiser.param_groups[0]["lr"] = rate
        value.grad = gradient.clone()
        optimiser.step()
    return value.detach()


def drawn_gradients(count: int = 12) -> list[Tensor]:
    """Of sizes that differ by powers of ten."""
    rng = torch.Generator().manual_seed(5)
    sizes = 10 ** (2 * torch.rand(count, generator=rng, dtype=torch.float64))
    return [size * torch.randn(3, 4, generator=rng, dtype=torch.float64) for size in sizes]


def test_coordinates_move_as_under_torch_optim() -> None:
    gradients = drawn_gradients()
    torch.testing.assert_close(moved(Adam(0.03), gradients), torch_adam(gradients, [0.03] * 12), rtol=1e-12, atol=0)


def test_the_rate_falls_by_half_a_cosine_and_stays_at_0() -> None:
    gradients = drawn_gradients(12)
    rates = [0.03 * 0.5 * (1 + math.cos(math.pi * step / 10)) for step in range(10)] + [0.0, 0.0]
    expected = torch_adam(gradients, rates)
    torch.testing.assert_close(moved(Adam(0.03, steps=10), gradients), expected, rtol=1e-12, atol=0)
    assert torch.equal(moved(Adam(0.03, steps=10), gradients), moved(Adam(0.03, steps=10), gradients[:10]))


def test_gradients_are_held_near_the_running_mean_of_their_norms() -> None:
    gradients = drawn_gradients()
    running, held, cut = 0.0, [], 0
    for step, gradient in enumerate(gradients):
        size = float(gradient.square().sum().sqrt())
        running = size if step == 0 else 0.8 * running + 0.2 * size
        held.append(gradient if size <= 1.2 * running else gradient * 1.2 * running / size)
        cut += held[-1] is not gradient
    assert 2 < cut < 10
    expected = torch_adam(held, [0.03] * 12)
    torch.testing.assert_close(moved(Adam(0.03, clip=1.2, memory=0.8), gradients), expected, rtol=1e-12, atol=0)


def test_an_update_leaves_what_it_is_given_as_it_was() -> None:
    rule, (value, gradient) = Adam(0.1, clip=1.0), drawn_gradients(2)
    moments = rule.update(value, gradient, rule.moments(value))[1]
    kept = [value.clone(), gradient.clone(), {name: one.clone() for name, one in moments.items()}]
    rule.update(value, gradient, moments)
    assert torch.equal(value, kept[0])
    assert torch.equal(gradient, kept[1])
    assert all(torch.equal(moments[name], one) for name, one in kept[2].items())
