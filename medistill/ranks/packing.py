"""Packing: tensors of known types and shapes as one row of bytes, and back to the same bits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

TYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float64, torch.bfloat16)}
Layout = Sequence[tuple[str, str, Sequence[int]]]
"""Name, type and shape of each tensor, in the order in which they lie."""


def layout_of(tensors: Mapping[str, Tensor]) -> list[tuple[str, str, list[int]]]:
    """Return the layout of tensors of floating point numbers."""
    return [(name, str(one.dtype).removeprefix("torch."), list(one.shape)) for name, one in tensors.items()]


def length(layout: Layout) -> int:
    """Return the bytes of a row."""
    return sum(math.prod(shape) * TYPES[kind].itemsize for _, kind, shape in layout)


def packed(tensors: Mapping[str, Tensor]) -> UInt8[Tensor, " B"]:
    """Return the bytes of tensors, on the CPU, in their order."""
    return torch.cat([one.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for one in tensors.values()])


def unpacked(row: UInt8[Tensor, " B"], layout: Layout, device: Any) -> dict[str, Tensor]:
    """Return the tensors of a row.

    Args:
        row: as `packed` gave it.
        layout: of it.
        device: where they are wanted.
    """
    found, start = dict[str, Tensor](), 0
    for name, kind, shape in layout:
        end = start + math.prod(shape) * TYPES[kind].itemsize
        found[name] = row[start:end].clone().view(TYPES[kind]).reshape(tuple(shape)).to(device)
        start = end
    return found
