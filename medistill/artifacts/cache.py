"""Where corpora and trajectories lie between runs: a folder that only its owner can enter."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from medistill.artifacts.atomic import private_folder

KINDS = ("sources", "staging", "corpora", "trajectories")
"""Folders of the cache that hold or encode what came from patients."""


def cache_root() -> Path:
    """``$MEDISTILL_CACHE``, or the platform's cache folder for medistill. Made with mode 0700."""
    chosen = os.environ.get("MEDISTILL_CACHE")
    if chosen:
        return private_folder(Path(chosen).expanduser())
    import platformdirs

    return private_folder(Path(platformdirs.user_cache_dir("medistill", appauthor=False)))


@dataclass(frozen=True)
class Purged:
    """What a purge removed: bytes in all, and how many corpora and trajectory stores."""

    bytes: int
    corpora: int
    trajectories: int


def purge(root: Path | None = None) -> Purged:
    """Remove corpora, trajectories and what interrupted readings left: all that holds or encodes patients' data."""
    root = root or cache_root()
    total = sum(file.stat().st_size for kind in KINDS for file in (root / kind).rglob("*") if file.is_file())
    counts = {
        kind: sum(1 for entry in (root / kind).glob("*") if entry.is_dir()) for kind in ("corpora", "trajectories")
    }
    for kind in KINDS:
        if (root / kind).is_dir():
            shutil.rmtree(root / kind)
    return Purged(total, **counts)
