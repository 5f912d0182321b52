"""How many images should pass a network at once: as many as keep its activations in a processor's cache."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CACHE_BYTES = 6 * 2**20
"""Activations of one layer that a micro-batch may fill on a CPU; measured, see docs/benchmarks."""


def largest_activation(network: nn.Module, channels: int, image_size: int) -> int:
    """Values in the largest layer output for one image."""
    largest = 0

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal largest
        largest = max(largest, output.numel())

    hooks = [module.register_forward_hook(look) for module in network.modules()]
    parameter = next(network.parameters())
    try:
        with torch.no_grad():
            network(torch.zeros(1, channels, image_size, image_size, device=parameter.device, dtype=parameter.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return largest


def micro_batch_size(network: nn.Module, channels: int, image_size: int, *, chosen: int = 0) -> int:
    """Images a micro-batch: ``chosen`` where it is not 0; on a CPU what fits the cache; on a GPU all of them.

    Returns:
        At least 1.
    """
    if chosen:
        return chosen
    if next(network.parameters()).device.type != "cpu":
        return 2**31
    return max(1, CACHE_BYTES // (4 * largest_activation(network, channels, image_size)))
