"""How many images should pass a network at once: as many as keep its activations in a processor's cache."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from medistill.errors import MemoryShortError

CACHE_BYTES = 6 * 2**20
"""Activations of one layer that a micro-batch may fill on a CPU; measured, see docs/benchmarks."""

COPIES = 3
"""Numbers of 32 bits that training keeps a parameter: itself, its gradient, its momentum."""


def refuse_beyond_memory(network: nn.Module, words: str, memory: int | None = None) -> None:
    """Refuse a network whose parameters alone, in training, do not fit in the machine's memory.

    Args:
        network: it may lie on the device ``meta``, where it takes no memory.
        words: what it is called in the message.
        memory: bytes that there are; None asks the machine.

    Raises:
        MemoryShortError: with its parameters, what they need and what there is.
    """
    parameters, there = sum(parameter.numel() for parameter in network.parameters()), memory or machine_memory()
    needed = 4 * COPIES * parameters
    if there is not None and needed > there:
        raise MemoryShortError(
            f"{words} has {parameters:,} parameters, which take {needed / 2**30:.1f} GiB in training, with their "
            "gradient and momentum",
            expected=f"no more than the {there / 2**30:.1f} GiB of memory of this machine",
            do="choose a smaller network (network.width, network.depth, network.name); fewer images at once would not "
            "help",
        )


def machine_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def largest_activation(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Values in the largest layer output for one image."""
    largest = 0

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal largest
        largest = max(largest, output.numel())

    hooks = [module.register_forward_hook(look) for module in network.modules()]
    parameter = next(network.parameters())
    try:
        with torch.no_grad():
            network(torch.zeros(1, *shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return largest


def micro_batch_size(network: nn.Module, shape: tuple[int, ...], *, chosen: int = 0, whole: int = 2**31) -> int:
    """Return how many images pass the network at once: on a CPU what fits the cache, on a GPU all of them.

    Args:
        network: on its device.
        shape: of what it takes of an image, (C, H, W) or (D,).
        chosen: taken in place of that where it is not 0.
        whole: images of a batch, which are not exceeded.

    Returns:
        At least 1.
    """
    if chosen:
        return min(chosen, whole)
    if next(network.parameters()).device.type != "cpu":
        return whole
    return min(max(1, CACHE_BYTES // (4 * largest_activation(network, shape))), whole)
