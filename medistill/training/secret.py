"""Secret random numbers: from the operating system, with no seed that could be published, stored or guessed."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor

STEPS = 2**53
"""Values that a uniform number can take."""


def secret_uniform(count: int) -> Tensor:
    """Float64 (count,), independent and uniform in (0, 1): multiples of 2**-53, moved by half a step off 0."""
    drawn = np.frombuffer(os.urandom(8 * count), np.uint64) >> np.uint64(11)
    return torch.from_numpy((drawn + 0.5) / STEPS)


def secret_normal(count: int) -> Tensor:
    """Float32 (count,), independent and standard normal (Box and Muller 1958)."""
    half = (count + 1) // 2
    length, angle = (-2 * secret_uniform(half).log()).sqrt(), 2 * torch.pi * secret_uniform(half)
    return torch.cat([length * angle.cos(), length * angle.sin()])[:count].float()


def secret_generator() -> torch.Generator:
    """A CPU generator that starts from a number of the operating system: for draws that need not be hard to predict.

    It takes 32 bits, all that PyTorch uses of a seed: never draw noise or samples from it.
    """
    return torch.Generator().manual_seed(int.from_bytes(os.urandom(4), "big"))
