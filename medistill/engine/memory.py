"""Running out of memory: how it shows, and what a run does about it."""

from __future__ import annotations

import torch

from medistill.errors import MemoryShortError
from medistill.progress import Progress


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out: CUDA's and Python's own, or the one of PyTorch's CPU allocator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def smaller_micro_batch(passed: int, progress: Progress) -> int:
    """Half of the ``passed`` images, two or more, that were at once in the network when memory ran out; says so."""
    half = (passed + 1) // 2
    progress.say(
        f"Memory ran out with {passed} images at once. The step is repeated with {half}, which changes its last "
        f"digits; compute.micro_batch = {half} avoids the first try."
    )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return half


def memory_short(passed: int) -> MemoryShortError:
    """The error of a step that does not fit although ``passed`` images, and no more, pass the network at once."""
    batch = "lower distill.syn_steps, since the parameters of every student step are kept, or distill.batch_syn"
    fewer = f"with compute.micro_batch = {passed // 2}; if that fails too, {batch}"
    return MemoryShortError(
        f"memory ran out in a student step with {passed} images at once",
        expected="memory for one micro-batch and for the parameters of every student step",
        do=f"start again in another --out {fewer}" if passed > 1 else batch,
    )
