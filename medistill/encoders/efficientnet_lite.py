"""EfficientNet-Lite0 with its batch norms folded into the convolutions, so that each image is seen by itself.

Inverted residual blocks without squeeze-and-excitation, ReLU6, "same" padding as TensorFlow lays it (Tan and Le 2019,
arXiv 1905.11946; the Lite variant, Google 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Stage(NamedTuple):
    """Blocks that give the same channels.

    Attributes:
        expansion: channels within a block, times those that come in.
        channels: that leave it.
        blocks: how many.
        stride: of the first.
        kernel: side of the depthwise convolutions.
    """

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int


STAGES = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)
STEM, HEAD = 32, 1280
SMALLEST = 32
"""Side in pixels that the last stage makes one of."""


class SameConvolution(nn.Conv2d):
    """A convolution with bias whose output has the input's side divided by the stride, rounded up."""

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D h w"]:
        """Pad where the side asks for it, the odd pixel after, and convolve."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for side in reversed(images.shape[-2:]):
            whole = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [whole // 2, whole - whole // 2]
        if stride == 1:
            return F.conv2d(images, self.weight, self.bias, padding=kernel // 2, groups=self.groups)
        return F.conv2d(F.pad(images, pads), self.weight, self.bias, stride=stride, groups=self.groups)


class InvertedResidual(nn.Module):
    """Expand by 1 x 1, filter each channel, project by 1 x 1; what came in is added where it has that shape."""

    def __init__(self, channels: int, out: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = SameConvolution(channels, inner, 1) if expansion > 1 else None
        self.depthwise = SameConvolution(inner, inner, kernel, stride=stride, groups=inner)
        self.project = SameConvolution(inner, out, 1)
        self.adds = stride == 1 and channels == out

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D h w"]:
        """Return what leaves the block; it has no activation after the projection."""
        inner = images if self.expand is None else F.relu6(self.expand(images), inplace=True)
        out: Tensor = self.project(F.relu6(self.depthwise(inner), inplace=True))
        return out.add_(images) if self.adds else out


class EfficientNetLite0(nn.Module):
    """The network without its classifier: it gives the mean over the pixels of what leaves each layer asked for."""

    LAYERS = (*(f"stage{k + 1}" for k in range(len(STAGES))), "head")
    """The layers that features can be taken from."""
    CHANNELS: Mapping[str, int] = dict(zip(LAYERS, (*(stage.channels for stage in STAGES), HEAD), strict=True))

    def __init__(self, layers: tuple[str, ...]) -> None:
        super().__init__()
        self.layers = layers
        self.stem = SameConvolution(3, STEM, 3, stride=2)
        stages, channels = [], STEM
        for stage in STAGES:
            blocks = []
            for k in range(stage.blocks):
                stride = 1 if k else stage.stride
                blocks.append(InvertedResidual(channels, stage.channels, stage.expansion, stride, stage.kernel))
                channels = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.head = SameConvolution(channels, HEAD, 1)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """Return the features, layer after layer in the order of the network."""
        seen, at = [], F.relu6(self.stem(images), inplace=True)
        for name, stage in zip(self.LAYERS, self.stages, strict=False):
            at = stage(at)
            if name in self.layers:
                seen.append(at.mean(dim=(2, 3)))
        if "head" in self.layers:
            seen.append(F.relu6(self.head(at), inplace=True).mean(dim=(2, 3)))
        return torch.cat(seen, dim=1)
