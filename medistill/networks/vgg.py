"""VGG-11 for small images: one linear layer as classifier, instance norm in place of batch norm."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

PLAN = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Channels of the convolutions of each stage (configuration A of Simonyan and Zisserman 2015)."""


class VGG11(nn.Module):
    """Five stages, each ended by max pooling; the image must be at least 32 pixels wide."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage in PLAN:
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(width, width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, classes)."""
        return self.classifier(F.adaptive_avg_pool2d(self.features(images), 1).flatten(1))
