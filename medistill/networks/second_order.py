"""Derivatives of a network's layers, written out: the same numbers up to rounding, in fewer passes over the memory.

PyTorch differentiates the backward pass of a convolution by a convolution whose kernel is as large as the image, that
of an instance norm by some thirty passes over its activations, and its average pooling on a CPU takes one value after
the other. Each has a short closed form. In the block of `SecondOrderKernels` they take the place of PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

IMAGE_CHANNELS = 4
"""Channels that an image has at most."""
First = Literal["value", "weights", "graph"]
"""What of a first pass is computed by value, see `SecondOrderKernels`."""
Form = tuple[list[int], list[int], list[int], int]
"""Stride, padding, dilation and groups of a convolution."""


class FirstOrderKernels(TorchFunctionMode):
    """A block in which halving carries the derivative below: for a caller that takes no second one, to whom PyTorch's
    other layers are as fast."""

    def __torch_function__(
        self, called: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Take over functions where their closed form holds, and leave everything else as it is."""
        kwargs = kwargs or {}
        own = self._own(called)
        if own is not None and not torch.is_autocast_enabled(args[0].device.type):
            made = own(self, *args, **kwargs)
            if made is not None:
                return made
        return called(*args, **kwargs)

    def _own(self, called: Callable) -> Callable[..., Tensor | None] | None:
        return _average_pool if called is F.avg_pool2d else None


class SecondOrderKernels(FirstOrderKernels):
    """A block in which convolution, instance norm, rectifying and halving carry the derivatives below.

    Args:
        first: what is computed in a pass of which a graph is made. "value" computes everything. "weights" leaves out
            the gradient of images that nothing came before, which is NaN then, and "graph" those of weights of
            convolutions too: for a caller that wants their derivatives alone.
        last: what the pass ends in of which no graph is made. "all" is everything. "images" is for a second derivative
            in the images alone, which it makes cheaper: it leaves out convolutions' weights and biases, and the
            gradient of images in the pass before, which is NaN then.
    """

    def __init__(self, first: First = "value", last: Literal["all", "images"] = "all") -> None:
        super().__init__()
        self.inert = last == "images"
        self.valued = (first == "value" and not self.inert, first != "graph")

    def _own(self, called: Callable) -> Callable[..., Tensor | None] | None:
        return _OWN.get(called)


def _convolution(
    mode: SecondOrderKernels,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    if isinstance(padding, str) or x.dim() != 4:
        return None
    form = (_pair(stride), _pair(padding), _pair(dilation), groups)
    return _Convolution.apply(x, weight, bias, form, mode.valued, mode.inert)


def _group_norm(
    mode: SecondOrderKernels,
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor | None:
    if x.dim() != 4 or groups != x.shape[1] or weight is None or bias is None:
        return None
    return _InstanceNorm.apply(x.contiguous(), weight, bias, eps)


def _rectifier(mode: SecondOrderKernels, x: Tensor, inplace: bool = False) -> Tensor | None:
    return None if inplace else _Rectify.apply(x)


def _average_pool(
    mode: FirstOrderKernels,
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor | None:
    halves = _pair(kernel_size) == [2, 2] == _pair(stride or kernel_size) and _pair(padding) == [0, 0]
    if (
        not halves
        or divisor_override is not None
        or x.device.type != "cpu"
        or x.dim() != 4
        or x.shape[2] % 2
        or x.shape[3] % 2
    ):
        return None
    return _Halve.apply(x)


_OWN: dict[Callable, Callable[..., Tensor | None]] = {
    torch.conv2d: _convolution,
    F.group_norm: _group_norm,
    F.relu: _rectifier,
    F.avg_pool2d: _average_pool,
}


def _pair(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


class _Convolution(torch.autograd.Function):
    """y = W * x + b."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, form: Form, valued: tuple[bool, bool], inert: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.form, ctx.valued, ctx.inert = form, valued, inert
        return torch.conv2d(x, weight, bias, *form)

    @staticmethod
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        last = not torch.is_grad_enabled()  # the pass of which no graph is made wants values
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        wanted = (of_x, False, False) if last and ctx.inert else (of_x, of_weight, of_bias)
        valued = (last or ctx.valued[0], last or ctx.valued[1])
        return *_ConvolutionGradient.apply(of_y, x, weight, ctx.form, wanted, valued, ctx.inert), None, None, None


class _ConvolutionGradient(torch.autograd.Function):
    """Gradients of a convolution; it is linear in each of its three tensors, so each derivative is one more of them."""

    @staticmethod
    def forward(
        ctx: Any,
        of_y: Tensor,
        x: Tensor,
        weight: Tensor,
        form: Form,
        wanted: tuple[bool, ...],
        valued: tuple[bool, bool],
        inert: bool,
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(of_y, x, weight)
        ctx.form, ctx.inert = form, inert
        left_out = (x.is_leaf and not valued[0], weight.is_leaf and not valued[1])
        computed = (wanted[0] and not left_out[0], wanted[1] and not left_out[1], wanted[2])
        if inert and computed == (True, False, False):
            of_x, of_weight, of_bias = _of_images(of_y, x, weight, form), None, None
        else:
            of_x, of_weight, of_bias = _gradients(of_y, x, weight, form, computed)
        if wanted[0] and left_out[0]:
            of_x = x.new_full((), torch.nan).expand_as(x)
        if wanted[1] and left_out[1]:
            of_weight = weight.new_full((), torch.nan).expand_as(weight)
        return of_x, of_weight, of_bias

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, v_x: Tensor | None, v_weight: Tensor | None, v_bias: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        of_y, x, weight = ctx.saved_tensors
        to_y = to_x = to_weight = None
        if v_weight is not None:
            to_y = torch.conv2d(x, v_weight, v_bias, *ctx.form)
            if ctx.needs_input_grad[1]:
                of_images = _of_images if ctx.inert else _of_inputs
                to_x = of_images(of_y, x, v_weight, ctx.form)
        elif v_bias is not None:
            to_y = v_bias[:, None, None].expand_as(of_y)
        if v_x is not None:
            through = torch.conv2d(v_x, weight, None, *ctx.form)
            to_y = through if to_y is None else through.add_(to_y)
            if not ctx.inert:
                to_weight = _gradients(of_y, v_x, weight, ctx.form, (False, True, False))[1]
        return to_y, to_x, to_weight, None, None, None, None


def _gradients(of_y: Tensor, x: Tensor, weight: Tensor, form: Form, wanted: tuple[bool, ...]) -> tuple[Tensor, ...]:
    stride, padding, dilation, groups = form
    return torch.ops.aten.convolution_backward(
        of_y, x, weight, [len(weight)], stride, padding, dilation, False, [0, 0], groups, wanted
    )


def _of_inputs(of_y: Tensor, x: Tensor, weight: Tensor, form: Form) -> Tensor:
    return _gradients(of_y, x, weight, form, (True, False, False))[0]


def _of_images(of_y: Tensor, x: Tensor, weight: Tensor, form: Form) -> Tensor:
    """Return the gradient in the input of a convolution; of one with the few channels of an image, on a CPU, by a
    product for each place of its kernel, for which PyTorch takes two to six times as long."""
    stride, padding, dilation, groups = form
    batch, channels, height, width = x.shape
    plain = stride == [1, 1] == dilation and groups == 1
    if not plain or x.device.type != "cpu" or channels > IMAGE_CHANNELS:
        return _of_inputs(of_y, x, weight, form)
    down, across = weight.shape[2:]
    by_place = weight.permute(2, 3, 1, 0).reshape(-1, len(weight)) @ of_y.flatten(2)
    of_place = by_place.view(batch, down, across, channels, *of_y.shape[2:])
    padded = of_y.new_zeros(batch, channels, height + 2 * padding[0], width + 2 * padding[1])
    for row in range(down):
        for column in range(across):
            at = padded[:, :, row : row + of_y.shape[2], column : column + of_y.shape[3]]
            at.add_(of_place[:, row, column])
    return padded[:, :, padding[0] : padding[0] + height, padding[1] : padding[1] + width].contiguous()


class _InstanceNorm(torch.autograd.Function):
    """y = w h + b, with h = r (x - mean x) and r = 1 / sqrt(var x + eps) of each image and channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        images, channels = x.shape[:2]
        y, mean, inverse = torch.native_group_norm(x, weight, bias, images, channels, x[0, 0].numel(), channels, eps)
        ctx.save_for_backward(x, weight, mean, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, ...]:
        wanted = [True, True, True] if torch.is_grad_enabled() else [True, *ctx.needs_input_grad[1:3]]
        return *_InstanceNormGradient.apply(of_y.contiguous(), *ctx.saved_tensors, wanted), None


class _InstanceNormGradient(torch.autograd.Function):
    """of_x = w r P(of_y), where P(z) = z - mean z - h mean(z h); of_w = sum of_y h; of_b = sum of_y.

    For the derivative, dr/dx = -r^2 h / m and dh = r P(dx), with m values a channel.
    """

    @staticmethod
    def forward(
        ctx: Any, of_y: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, wanted: list[bool]
    ) -> tuple[Tensor, ...]:
        images, channels = x.shape[:2]
        ctx.save_for_backward(of_y, x, weight, mean, inverse)
        return torch.ops.aten.native_group_norm_backward(
            of_y, x, mean, inverse, weight, images, channels, x[0, 0].numel(), channels, wanted
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_x: Tensor, v_weight: Tensor, v_bias: Tensor) -> tuple[Tensor | None, ...]:
        of_y, x, weight, mean, r = ctx.saved_tensors
        g, h0, v = (t.flatten(2) for t in (of_y, x, v_x))
        mean_g, mean_v = g.mean(dim=2), v.mean(dim=2)
        g_v = (g * v).mean(dim=2)
        g_h = r * ((g * h0).mean(dim=2) - mean * mean_g)
        v_h = r * ((v * h0).mean(dim=2) - mean * mean_v)
        inner = g_v - mean_g * mean_v - g_h * v_h  # mean(g P(v))
        by_v = weight * r
        by_h = v_weight - by_v * v_h
        to_y = _combine([(by_v, v), (by_h * r, h0)], v_bias - by_v * mean_v - by_h * r * mean)
        by_v = -by_v * r * g_h
        by_g = v_weight * r - weight * r.square() * v_h
        by_h = -weight * r.square() * inner - by_g * g_h - by_v * v_h
        to_x = _combine([(by_v, v), (by_g, g), (by_h * r, h0)], -by_v * mean_v - by_g * mean_g - by_h * r * mean)
        to_weight = (g[0, 0].numel() * r * inner).sum(dim=0)
        return to_y.view_as(x), to_x.view_as(x), to_weight, None, None, None


def _combine(terms: Sequence[tuple[Tensor, Tensor]], constant: Tensor) -> Tensor:
    """Sum of tensors (B, C, M) with a factor (B, C) each, and a constant (B, C)."""
    (factor, first), *others = terms
    total = factor[..., None] * first
    for factor, tensor in others:
        total.addcmul_(factor[..., None], tensor)
    return total.add_(constant[..., None])


class _Rectify(torch.autograd.Function):
    """y = max(x, 0)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.relu(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, ...]:
        return _Passed.apply(of_y, *ctx.saved_tensors)


class _Passed(torch.autograd.Function):
    """of_y where y is above 0, and 0 elsewhere. It does not change with y: PyTorch's own adds zeros for that."""

    @staticmethod
    def forward(ctx: Any, of_y: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        return torch.ops.aten.threshold_backward(of_y, y, 0)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        return _Passed.apply(v, *ctx.saved_tensors), None


class _Halve(torch.autograd.Function):
    """Mean of every two by two values."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        upper, lower = x.reshape(-1, 2, x.shape[3]).unbind(1)
        rows = upper + lower
        mean = torch.add(rows[:, ::2], rows[:, 1::2]).mul_(0.25)
        return mean.view(*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2)

    @staticmethod
    def backward(ctx: Any, of_y: Tensor) -> Tensor:
        return _Spread.apply(of_y)


class _Spread(torch.autograd.Function):
    """A quarter of every value at two by two places: the transpose of `_Halve`."""

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        width = y.shape[3]
        quarter = y.reshape(-1, width) * 0.25
        spread = y.new_empty(len(quarter), 2, width, 2)  # two rows, of each number beside itself
        spread[:, 0, :, 0] = spread[:, 0, :, 1] = quarter
        spread[:, 1] = spread[:, 0]
        return spread.view(*y.shape[:2], 2 * y.shape[2], 2 * width)

    @staticmethod
    def backward(ctx: Any, of_x: Tensor) -> Tensor:
        return _Halve.apply(of_x)
