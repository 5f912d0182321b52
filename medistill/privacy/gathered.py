"""Gathered: what is made of every original, piece by piece, brought together without room in memory for all of it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from medistill.artifacts.scratch import scratch


def gathered(parts: Iterable[Tensor], count: int) -> Tensor:
    """Return parts (n, ...), of which there is one at least, as one tensor (count, ...) on their device. On a CPU a
    large one is mapped from a file (`medistill.artifacts.scratch`)."""
    whole, at = None, 0
    for part in parts:
        if whole is None:
            whole = _room(part, count)
        whole[at : at + len(part)] = part
        at += len(part)
    assert whole is not None  # noqa: S101  (a caller gives one part at least)
    return whole


def _room(like: Tensor, count: int) -> Tensor:
    shape = (count, *like.shape[1:])
    if like.device.type != "cpu":
        return like.new_empty(shape)
    return torch.from_numpy(scratch(shape, like[:0].numpy().dtype))
