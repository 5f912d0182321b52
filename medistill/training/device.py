"""The device that the arithmetic runs on, and its precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from medistill.errors import UsageError

Precision = Literal["fp32", "tf32", "bf16"]


def choose_device(name: str) -> torch.device:
    """``auto`` takes CUDA where there is one.

    Raises:
        UsageError: CUDA was asked for and is not there, or the name is unknown.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {name}", expected="auto, cpu or cuda", do="choose one of them")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"--device cuda, but this PyTorch ({torch.__version__}) finds no CUDA device",
            expected="a CUDA device and a CUDA build of PyTorch",
            do="take --device cpu, or run `medistill doctor` to see what is missing",
        )
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device, without waiting until it is there.

    What runs on the device comes after it. The host may go on, and free or change what it has: from memory that is not
    pinned CUDA takes its copy before it returns. A copy to the host is another matter, and is waited for here too.
    """
    return tensor.to(device, non_blocking=tensor.device.type == "cpu")


@contextmanager
def precision(name: Precision, device: torch.device) -> Iterator[None]:
    """Run a block in a precision, and leave PyTorch's settings as they were.

    fp32 multiplies in full float32 on every device; tf32 lets CUDA round the factors; bf16 runs layers in bfloat16.
    """
    before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=name == "bf16"):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
