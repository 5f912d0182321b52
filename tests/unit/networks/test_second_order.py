"""Layers with written-out derivatives against PyTorch's, and against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from medistill.networks.second_order import SecondOrderKernels

DOUBLE = {"dtype": torch.float64, "requires_grad": True}


def leaves(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    numbers = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=numbers, **DOUBLE) for shape in shapes]


CASES = {
    "convolution": (lambda x, w, b: F.conv2d(x, w, b, 1, 1), ((2, 3, 6, 4), (5, 3, 3, 3), (5,))),
    "convolution, strided": (lambda x, w: F.conv2d(x, w, None, 2, 1), ((2, 3, 7, 6), (4, 3, 3, 3))),
    "convolution, grouped": (lambda x, w, b: F.conv2d(x, w, b, 1, 2, 2, 2), ((2, 4, 6, 6), (4, 2, 3, 3), (4,))),
    "convolution, padded by name": (lambda x, w: F.conv2d(x, w, None, 1, "same"), ((2, 3, 5, 5), (4, 3, 3, 3))),
    "instance norm": (lambda x, w, b: F.group_norm(x + 3, 4, w, b, 0.3), ((2, 4, 5, 3), (4,), (4,))),
    "group norm": (lambda x, w, b: F.group_norm(x, 2, w, b), ((2, 4, 5, 3), (4,), (4,))),
    "instance norm without weights": (lambda x: F.group_norm(x, 4), ((2, 4, 5, 3),)),
    "halving": (lambda x: F.avg_pool2d(x, 2), ((2, 3, 6, 4),)),
    "halving, odd": (lambda x: F.avg_pool2d(x, 2), ((2, 3, 7, 5),)),
    "other pooling": (lambda x: F.avg_pool2d(x, 3, 2, 1), ((2, 3, 6, 6),)),
    "channels last": (
        lambda x, w, b: F.avg_pool2d(F.group_norm(x.contiguous(memory_format=torch.channels_last), 4, w, b), 2),
        ((2, 4, 6, 4), (4,), (4,)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_both_derivatives(name):
    layer, shapes = CASES[name]
    inputs = leaves(*shapes)

    def own(*given: torch.Tensor) -> torch.Tensor:
        with SecondOrderKernels():
            return layer(*given)

    assert torch.allclose(own(*inputs), layer(*inputs), rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(own, inputs)
    assert torch.autograd.gradgradcheck(own, inputs)


def test_gradients_that_are_not_computed_are_no_numbers_and_their_derivatives_are_right():
    x, w = leaves((2, 3, 6, 6), (4, 3, 3, 3))
    v = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def second(block: SecondOrderKernels) -> tuple[torch.Tensor, list[torch.Tensor]]:
        with block:
            (g,) = torch.autograd.grad(F.conv2d(x, w, None, 1, 1).tanh().sum(), w, create_graph=True)
        return g, list(torch.autograd.grad(g, (x, w), v))

    (value, of_value), (graph, of_graph) = second(SecondOrderKernels()), second(SecondOrderKernels("graph"))
    assert not value.isnan().any()
    assert graph.isnan().all()
    assert all(torch.equal(one, other) for one, other in zip(of_value, of_graph, strict=True))


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (1, 0), (1, (2, 0)), (2, 1)])
def test_of_images_alone_their_derivative_is_the_same_and_weights_have_none(channels, stride, padding):
    x, w, u, b = leaves((2, channels, 6, 7), (4, channels, 3, 2), (3, 4, 3, 3), (4,))
    v = [torch.randn(one.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) for one in (w, u)]

    def second(block: SecondOrderKernels) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
        with block:
            y = F.conv2d(F.conv2d(x, w, b, stride, padding).tanh(), u, None, 1, 1).sin().sum()
            g = torch.autograd.grad(y, (w, u), create_graph=True)
        return list(g), list(torch.autograd.grad(g, (x, w, u), v, allow_unused=True))

    (value, whole), (also, of_images) = second(SecondOrderKernels()), second(SecondOrderKernels(last="images"))
    assert all(torch.equal(one, other) for one, other in zip(value, also, strict=True))
    torch.testing.assert_close(of_images[0], whole[0], rtol=1e-12, atol=1e-12)
    assert not any(of is not None and of.any() for of in of_images[1:])
    assert all(of is not None and of.any() for of in whole)


def test_norms_of_which_no_weight_asks_have_the_same_gradient():
    x, w, b = leaves((2, 3, 6, 6), (3,), (3,))
    still = [w.detach(), b.detach()]
    with SecondOrderKernels():
        one, other = (F.group_norm(x, 3, *of).sin().sum() for of in ((w, b), still))
    assert torch.equal(torch.autograd.grad(one, x)[0], torch.autograd.grad(other, x)[0])


def test_autocast_is_left_to_pytorch():
    x, w, _ = leaves((2, 3, 6, 6), (4, 3, 3, 3), (4,))
    with torch.autocast("cpu", torch.bfloat16), SecondOrderKernels():
        assert F.conv2d(x.float(), w.float()).dtype == torch.bfloat16
