"""Stages (PDD, Chen et al. 2024): what is divided over them, as evenly as whole numbers allow.

The images of a class, the outer steps, the range of start epochs and the epochs of a training are all divided by one
rule: part k of a total is [k total / parts, (k + 1) total / parts), rounded down.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def part(total: int, parts: int, k: int) -> range:
    """Part ``k`` of 0 .. total - 1; parts differ by one in length at most."""
    return range(k * total // parts, (k + 1) * total // parts)


def part_of(index: int, total: int, parts: int) -> int:
    """The part that ``index`` lies in."""
    return ((index + 1) * parts - 1) // total


def image_stages(per_class: Sequence[int], stages: int) -> Tensor:
    """The stage int64 (N,) of each image of a set that lies class by class, ``per_class`` images of each."""
    return torch.tensor([part_of(image, count, stages) for count in per_class for image in range(count)])
