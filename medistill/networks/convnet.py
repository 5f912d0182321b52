"""ConvNet: blocks of convolution, instance norm, ReLU and average pooling (Gidaris and Komodakis 2018)."""

from __future__ import annotations

from torch import Tensor, nn


class ConvNet(nn.Module):
    """The network that dataset distillation is measured with.

    Args:
        channels: channels of an image.
        image_size: its height and width in pixels, at least ``2**depth``.
        classes: number of logits.
        depth: blocks; each halves height and width, rounding down.
        width: channels of every block.
    """

    def __init__(self, channels: int, image_size: int, classes: int, *, depth: int = 3, width: int = 128) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for block in range(depth):
            blocks += [
                nn.Conv2d(channels if block == 0 else width, width, kernel_size=3, padding=1),
                nn.GroupNorm(width, width),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width * (image_size // 2**depth) ** 2, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, classes)."""
        return self.classifier(self.features(images).flatten(1))
