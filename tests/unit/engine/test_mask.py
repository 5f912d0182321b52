"""Masks: what a match leaves out, against the same rules written with NumPy, one parameter at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medistill.engine.mask import MaskSettings, parameter_mask
from medistill.engine.matching import match
from medistill.engine.segment import Segment, StudentSteps


@pytest.fixture
def ends() -> tuple[torch.Tensor, Segment]:
    """Where a student ended, and the segment that it should have walked."""
    numbers = torch.Generator().manual_seed(3)
    start, target = torch.randn(2, 101, generator=numbers)
    return target + 0.5 * torch.randn(101, generator=numbers), Segment(start, target, StudentSteps([], []))


def ranked(end: torch.Tensor, segment: Segment) -> np.ndarray:
    """Place of each parameter in the order of the errors, from the smallest."""
    return np.argsort(np.argsort(np.abs((end - segment.target).numpy())))


def test_nothing_is_left_out_by_default(ends):
    assert parameter_mask(MaskSettings(), *ends, 0.0) is None


def test_easy_leaves_out_the_smallest_errors(ends):
    mask = parameter_mask(MaskSettings("easy", share=0.3), *ends, 0.9)
    assert mask.tolist() == (ranked(*ends) >= 30).astype(float).tolist()


def test_hard_leaves_out_the_largest_errors(ends):
    mask = parameter_mask(MaskSettings("hard", share=0.3), *ends, 0.0)
    assert mask.tolist() == (ranked(*ends) < 71).astype(float).tolist()


def test_the_share_falls_to_nothing(ends):
    settings = MaskSettings("hard", share=0.4, until=0.5)
    left_out = [101 - int(parameter_mask(settings, *ends, progress).sum()) for progress in (0.0, 0.25)]
    assert left_out == [40, 20]
    assert parameter_mask(settings, *ends, 0.5) is None
    assert parameter_mask(settings, *ends, 0.9) is None


def test_unlike_parameters_are_left_out(ends):
    end, segment = ends
    mask = parameter_mask(MaskSettings("unlike", likeness=0.4), end, segment, 0.0)
    expected = []
    for mine, its in zip(end.tolist(), segment.target.tolist(), strict=True):
        small, large = sorted([abs(mine), abs(its)])
        expected.append(float(mine * its >= 0 and small >= 0.4 * large))
    assert mask.tolist() == expected
    assert 0 < mask.sum() < 101


def test_what_is_left_out_has_no_part_in_loss_or_gradient(ends):
    end, segment = ends
    mask = parameter_mask(MaskSettings("hard", share=0.3), end, segment, 0.0)
    sizes = torch.tensor([40, 61])
    weights = torch.tensor([0.5, 2.0])
    matched = match(end, segment, weights, sizes, mask)
    leaf = end.clone().requires_grad_()
    w = weights.clone().requires_grad_()
    error = (mask * torch.cat([w[:1].expand(40), w[1:].expand(61)]) * (leaf - segment.target)).square().sum()
    loss = error / (segment.start - segment.target).square().sum()
    of_end, of_weights = torch.autograd.grad(loss, (leaf, w))
    assert float(matched.loss) == pytest.approx(loss.item(), rel=1e-6)
    torch.testing.assert_close(matched.lambda_end, of_end)
    torch.testing.assert_close(matched.grad_importance, of_weights)
    assert not matched.lambda_end[mask == 0].any()


def test_a_full_mask_is_no_mask_to_the_bit(ends):
    end, segment = ends
    sizes, weights = torch.tensor([40, 61]), torch.tensor([0.5, 2.0])
    plain, full = match(end, segment, weights, sizes), match(end, segment, weights, sizes, torch.ones(101))
    assert torch.equal(plain.lambda_end, full.lambda_end)
    assert torch.equal(plain.loss, full.loss)
