"""A package that answers as timm does, with two small networks: timm itself needs torchvision and is seldom there."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

NAMES = ("smallnet", "smallvit", "smallbatch")
TAGGED = ("smallnet.a1",)


class SmallNet(nn.Module):
    """A convolution and a batch norm before the mean over the pixels, and a classifier."""

    def __init__(self, num_classes: int, *, tracks: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(5, track_running_stats=tracks)
        self.fc = nn.Linear(5, num_classes) if num_classes else nn.Identity()
        self.pretrained_cfg = {
            "input_size": (3, 64, 64), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.2, 0.2), "classifier": "fc",
            "fixed_input_size": False,
        }  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Pool, and classify where there is a classifier."""
        out: Tensor = self.fc(self.bn(self.conv(images)).relu().mean(dim=(2, 3)))
        return out


class SmallViT(nn.Module):
    """Patches with a table of positions that is worked out and not stored, and a layer norm at the end."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 8, stride=8)
        self.register_buffer("positions", torch.linspace(0, 1, 16), persistent=False)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, num_classes) if num_classes else nn.Identity()
        self.pretrained_cfg = {
            "input_size": (3, 32, 32), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "classifier": "head",
            "fixed_input_size": True,
        }  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Pool, and classify where there is a classifier."""
        seen = self.patches(images).flatten(2).transpose(1, 2) + self.positions[:, None]
        out: Tensor = self.head(self.norm(seen).mean(dim=1))
        return out


def stand_in() -> ModuleType:
    """The package."""
    module: Any = ModuleType("timm")

    def create_model(name: str, *, pretrained: bool, num_classes: int = 1000) -> nn.Module:
        assert not pretrained, "weights would be fetched"
        kind = name.partition(".")[0]
        if kind == "smallvit":
            return SmallViT(num_classes)
        return SmallNet(num_classes, tracks=kind != "smallbatch")

    def get_pretrained_cfg(name: str, *, allow_unregistered: bool) -> SimpleNamespace | None:
        return SimpleNamespace(license="mit") if "." in name else None

    module.create_model, module.get_pretrained_cfg = create_model, get_pretrained_cfg
    module.list_models = lambda *, pretrained=False: [*(TAGGED if pretrained else NAMES)]
    return module
