"""A small U-Net that predicts the noise in an image, told the noise level and the class."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 8
"""Groups of every norm, which divide every number of channels."""


class Block(nn.Module):
    """Two convolutions beside which the input goes straight on; in between the embedding scales and shifts channels.

    Args:
        channels: of input and output.
        told: numbers in the embedding.
    """

    def __init__(self, channels: int, told: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(GROUPS, channels)
        self.first = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.told = nn.Linear(told, 2 * channels)
        self.second_norm = nn.GroupNorm(GROUPS, channels)
        self.second = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, seen: Float[Tensor, "B C H W"], told: Float[Tensor, "B E"]) -> Float[Tensor, "B C H W"]:
        """Return the input and what the convolutions add to it."""
        scale, shift = self.told(told)[:, :, None, None].chunk(2, dim=1)
        inner = self.second_norm(self.first(F.silu(self.first_norm(seen)))) * (1 + scale) + shift
        added: Tensor = seen + self.second(F.silu(inner))
        return added


class UNet(nn.Module):
    """Levels down and up again, each with a block; what a level saw on the way down is added on the way up.

    Pixels of 2 x 2 are channels first, so that no layer runs at the full size.

    Args:
        channels: of an image.
        width: channels of the first level; twice as many below.
        depth: levels, each of half the side of the one above.
        levels: noise levels.
        conditions: classes, and one more for an image whose class is not told.
    """

    def __init__(self, channels: int, *, width: int, depth: int, levels: int, conditions: int) -> None:
        super().__init__()
        widths, told = [width, *[2 * width] * (depth - 1)], 2 * width
        self.levels, self.conditions = levels, conditions
        self.of_level = nn.Linear(levels, told)
        self.of_condition = nn.Linear(conditions, told)
        self.stem = nn.Conv2d(4 * channels, width, kernel_size=3, padding=1)
        self.down = nn.ModuleList(Block(each, told) for each in widths)
        self.shrink = nn.ModuleList(
            nn.Conv2d(above, below, kernel_size=3, stride=2, padding=1) for above, below in pairwise(widths)
        )
        self.grow = nn.ModuleList(nn.Conv2d(below, above, kernel_size=1) for above, below in pairwise(widths))
        self.up = nn.ModuleList(Block(each, told) for each in widths)
        self.head_norm = nn.GroupNorm(GROUPS, width)
        self.head = nn.Conv2d(width, 4 * channels, kernel_size=3, padding=1)

    def forward(
        self, noisy: Float[Tensor, "B C H W"], level: Float[Tensor, "B levels"], condition: Float[Tensor, "B classes"]
    ) -> Float[Tensor, "B C H W"]:
        """Return the noise in images.

        Args:
            noisy: signal and noise together.
            level: which noise level, one-hot.
            condition: which class, or the last for none, one-hot.
        """
        told = F.silu(self.of_level(level) + self.of_condition(condition))
        seen, passed = self.stem(F.pixel_unshuffle(noisy, 2)), []
        for number, block in enumerate(self.down):
            seen = block(seen if number == 0 else self.shrink[number - 1](seen), told)
            passed.append(seen)
        for number in reversed(range(len(self.down))):
            if number < len(self.down) - 1:
                seen = passed[number] + F.interpolate(self.grow[number](seen), scale_factor=2.0, mode="nearest")
            seen = self.up[number](seen, told)
        noise: Tensor = F.pixel_shuffle(self.head(F.silu(self.head_norm(seen))), 2)
        return noise


def one_hot(numbers: Tensor, count: int) -> Float[Tensor, "B count"]:
    """Return float32 rows with a 1 at each number."""
    return (numbers[:, None] == torch.arange(count, device=numbers.device)).float()
