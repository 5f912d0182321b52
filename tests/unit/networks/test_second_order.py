"""Layers with written-out derivatives against PyTorch's, and against finite differences."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from medistill.networks.second_order import FirstOrderKernels, SecondOrderKernels

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
    "rectifying": (F.relu, ((2, 3, 4, 2),)),
    "rectifying in place": (lambda x: F.relu(x * 2, inplace=True), ((2, 3, 4, 2),)),
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


def test_weights_are_taken_by_value_where_images_are_not():
    x, w = leaves((2, 3, 6, 6), (4, 3, 3, 3))
    v = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def both(block: SecondOrderKernels) -> tuple[torch.Tensor, ...]:
        with block:
            of_x, of_w = torch.autograd.grad(F.conv2d(x, w, None, 1, 1).tanh().sum(), (x, w), create_graph=True)
        return of_x, of_w, *torch.autograd.grad(of_w, (x, w), v)

    (of_x, *whole), (left_out, *weights) = both(SecondOrderKernels()), both(SecondOrderKernels("weights"))
    assert not of_x.isnan().any()
    assert left_out.isnan().all()
    assert all(torch.equal(one, other) for one, other in zip(whole, weights, strict=True))


class Called(TorchDispatchMode):
    """Keeps the names of the operations that are called in its block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, called, types, args=(), kwargs=None):
        self.names.append(called.__name__)
        return called(*args, **(kwargs or {}))


@pytest.mark.parametrize(("block", "makes"), [(SecondOrderKernels, False), (nullcontext, True)])
def test_no_zeros_are_made_for_a_rectifier_s_own_curvature(block, makes):
    (x,) = leaves((2, 3))
    with block():
        (g,) = torch.autograd.grad(F.relu(x).square().sum(), x, create_graph=True)
    with Called() as called:
        (of_x,) = torch.autograd.grad(g.sum(), x)
    assert torch.equal(of_x, 2.0 * (x > 0))
    assert ("zeros_like.default" in called.names) == makes


def test_a_block_of_the_first_order_takes_halving_alone_and_has_the_same_gradient():
    x, *weights = leaves((2, 3, 6, 4), (5, 3, 3, 3), (5,), (5,), (5,))

    def made() -> tuple[str, str, tuple[torch.Tensor, ...]]:
        w, b, scale, shift = weights
        rectified = F.relu(F.group_norm(F.conv2d(x, w, b, 1, 1), 5, scale, shift))
        y = F.avg_pool2d(rectified, 2)
        return rectified.grad_fn.name(), y.grad_fn.name(), torch.autograd.grad(y.sin().sum(), weights)

    with FirstOrderKernels():
        *names, found = made()
    *others, expected = made()
    assert names[0] == others[0]
    assert names[1] != others[1]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


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
