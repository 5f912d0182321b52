"""What lies in the private cache, and how large it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BUILT_IN = "phantom"
"""The part of the cache that comes from nobody, and that a purge leaves alone."""


@dataclass(frozen=True)
class Cached:
    """Counts and bytes. ``patients_bytes`` is what a purge removes; ``bytes`` counts the built-in corpus too."""

    corpora: int
    trajectories: int
    patients_bytes: int
    bytes: int


def cached(root: Path) -> Cached:
    """Look through the cache at ``root``."""
    whole = _bytes(root)
    return Cached(_folders(root / "corpora"), _folders(root / "trajectories"), whole - _bytes(root / BUILT_IN), whole)


def _folders(folder: Path) -> int:
    return sum(1 for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else 0


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
