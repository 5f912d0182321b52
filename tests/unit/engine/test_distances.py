"""Distances of gradients: against their formulas row by row, derivatives against automatic differentiation."""

from __future__ import annotations

import pytest
import torch

from medistill.engine.distances import distance

RNG = torch.Generator().manual_seed(0)
SHAPES = ((4, 3, 2, 2), (5, 7))


def drawn() -> list[torch.Tensor]:
    return [torch.randn(shape, generator=RNG, dtype=torch.float64) for shape in SHAPES]


def formula(name: str, wanted: list[torch.Tensor], found: list[torch.Tensor]) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for r, s in zip(wanted, found, strict=True):
        for row, other in zip(r.flatten(1), s.flatten(1), strict=True):
            if name == "cosine":
                total = total + 1 - row @ other / (row.norm() * other.norm() + 1e-6)
            else:
                total = total + ((row - other) ** 2 if name == "squared" else (row - other).abs()).sum()
    return total


@pytest.mark.parametrize("name", ["cosine", "squared", "absolute"])
@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_value_and_derivative(name, size):
    wanted, found = [size * r for r in drawn()], [size * s for s in drawn()]
    leaves = [one.clone().requires_grad_() for one in found]
    loss = formula(name, wanted, leaves)
    loss.backward()
    value, derivatives = distance(name, wanted, found)
    assert float(value) == pytest.approx(loss.item(), rel=1e-12)
    for mine, leaf in zip(derivatives, leaves, strict=True):
        torch.testing.assert_close(mine, leaf.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["cosine", "squared", "absolute"])
def test_rows_of_zeros_have_finite_derivatives(name):
    """As of outputs that no image reaches; a row that originals do not reach pulls at nothing."""
    wanted, found = drawn(), drawn()
    wanted[0][0], found[0][0], wanted[1][1], found[1][2] = 0, 0, 0, 0
    value, derivatives = distance(name, wanted, found)
    assert torch.isfinite(value)
    assert all(torch.isfinite(one).all() for one in derivatives)
    assert not derivatives[0][0].any()
    if name == "cosine":
        assert not derivatives[1][1].any()


def test_the_length_of_a_gradient_is_nothing_to_the_cosine():
    wanted = drawn()
    value, derivatives = distance("cosine", wanted, [3 * one for one in wanted])
    assert float(value) == pytest.approx(0, abs=1e-5)
    assert all(float(one.abs().max()) < 1e-5 for one in derivatives)
