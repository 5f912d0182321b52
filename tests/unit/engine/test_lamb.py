"""LAMB: it goes where torch's Adam goes, as far as a share of what it moves is long."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from medistill.engine.lamb import Lamb

RNG = torch.Generator().manual_seed(0)
GRADIENTS = torch.randn(5, 4, 3, generator=RNG, dtype=torch.float64)
START = torch.randn(4, 3, generator=RNG, dtype=torch.float64)


def test_it_goes_where_adam_goes_by_a_share_of_the_norm() -> None:
    rule = Lamb(0.1, first=0.8, second=0.95)
    value, moments = START, rule.moments(START)
    theirs = torch.zeros_like(START, requires_grad=True)
    adam = torch.optim.Adam([theirs], lr=1.0, betas=(0.8, 0.95), eps=1e-6)
    for gradient in GRADIENTS:
        before, stood = value, theirs.detach().clone()
        value, moments = rule.update(value, gradient, moments)
        theirs.grad = gradient.clone()
        adam.step()
        moved, wanted = value - before, theirs.detach() - stood
        assert float(moved.norm()) == pytest.approx(0.1 * float(before.norm()))
        assert float(F.cosine_similarity(moved.flatten(), wanted.flatten(), dim=0)) == pytest.approx(1, abs=1e-12)


def test_nothing_moves_by_a_ratio_of_one_and_without_a_gradient_stays() -> None:
    rule = Lamb(0.1)
    nothing = torch.zeros_like(START)
    moved, _ = rule.update(nothing, GRADIENTS[0], rule.moments(nothing))
    torch.testing.assert_close(moved, -0.1 * GRADIENTS[0].sign(), rtol=1e-4, atol=0)
    stayed, _ = rule.update(START, nothing, rule.moments(START))
    assert torch.equal(stayed, START)


def test_its_rate_falls_to_nothing_by_half_a_cosine() -> None:
    rule = Lamb(0.1, steps=4)
    value, moments, shares = START, rule.moments(START), []
    for gradient in GRADIENTS:
        before = value
        value, moments = rule.update(value, gradient, moments)
        shares.append(float((value - before).norm() / before.norm()))
    assert shares == pytest.approx([0.1, 0.05 * (1 + 0.5**0.5), 0.05, 0.05 * (1 - 0.5**0.5), 0.0], abs=1e-12)


def test_what_it_is_given_stays_as_it_was() -> None:
    rule = Lamb(0.1)
    value, moments = START.clone(), rule.moments(START)
    rule.update(value, GRADIENTS[0], moments)
    assert torch.equal(value, START)
    assert all(float(one.abs().max()) == 0 for one in moments.values())
