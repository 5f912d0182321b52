"""Running out of memory: how it shows, and what a run does about it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from medistill.errors import MemoryShortError
from medistill.progress import Progress


@dataclass(frozen=True)
class MemoryNeed:
    """What the steps of an objective need memory for, beside the images that pass a network at once.

    Attributes:
        step: what ran out of memory, for a message.
        beside: what has to fit beside one micro-batch; empty where nothing has to.
        lower: what to lower where a smaller micro-batch does not help.
    """

    step: str = "an outer step"
    beside: str = ""
    lower: str = "choose a smaller network (network.width, network.depth, network.name)"


def ran_out(error: BaseException) -> bool:
    """Return whether an error says that memory ran out: CUDA's and Python's own, or that of PyTorch's CPU allocator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def smaller_micro_batch(passed: int, progress: Progress) -> int:
    """Return half of the ``passed`` images, two or more, that were in the network when memory ran out; say so."""
    half = (passed + 1) // 2
    progress.say(
        f"Memory ran out with {passed} images at once. The step is repeated with {half}, which changes its last "
        f"digits; compute.micro_batch = {half} avoids the first try."
    )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return half


def memory_short(passed: int, need: MemoryNeed) -> MemoryShortError:
    """Return the error of a step that does not fit with just ``passed`` images at once in a network."""
    fewer = f"with compute.micro_batch = {passed // 2}; if that fails too, {need.lower}"
    return MemoryShortError(
        f"memory ran out in {need.step} with {passed} images at once",
        expected="memory for one micro-batch" + (f" and for {need.beside}" if need.beside else ""),
        do=f"start again in another --out {fewer}" if passed > 1 else need.lower,
    )
