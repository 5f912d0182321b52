"""Random numbers by name: every use has its own generator, so a resumed run draws what it would have drawn."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *path: str | int) -> int:
    """A seed for the use that ``path`` names, as ``("expert", 3)``; equal inputs give equal seeds on every machine."""
    digest = hashlib.sha256(repr((seed, *path)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *path: str | int) -> torch.Generator:
    """A fresh CPU generator for the use that ``path`` names."""
    return torch.Generator().manual_seed(derive_seed(seed, *path))
