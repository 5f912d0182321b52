"""Stages (PDD, Chen et al. 2024): what is divided over them, as evenly as whole numbers allow.

The images of a class, the outer steps, the range of start epochs and the epochs of a training are all divided by one
rule: slice k of a total is [k total / slices, (k + 1) total / slices), rounded down.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def even_slice(total: int, slices: int, k: int) -> range:
    """Return slice ``k`` of 0 .. total - 1; slices differ by one in length at most."""
    return range(k * total // slices, (k + 1) * total // slices)


def slice_of(index: int, total: int, slices: int) -> int:
    """Return the slice that ``index`` lies in."""
    return ((index + 1) * slices - 1) // total


def image_stages(per_class: Sequence[int], stages: int) -> Tensor:
    """Return the stage int64 (N,) of each image of a set that lies class by class, ``per_class`` images of each."""
    return torch.tensor([slice_of(image, count, stages) for count in per_class for image in range(count)])
