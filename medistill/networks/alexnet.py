"""AlexNet for small images: five convolutions without normalisation and one linear layer."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class AlexNet(nn.Module):
    """The form used in the cross-architecture tables of dataset distillation; at least 16 pixels wide."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 5, padding=4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(128, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(192, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 192, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(192, 192, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Linear(192 * 4 * 4, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, classes)."""
        return self.classifier(F.adaptive_avg_pool2d(self.features(images), 4).flatten(1))
