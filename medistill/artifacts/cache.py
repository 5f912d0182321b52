"""Where corpora and trajectories lie between runs: a folder that only its owner can enter."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from medistill.artifacts.atomic import private_folder


def cache_root() -> Path:
    """``$MEDISTILL_CACHE``, or the platform's cache folder for medistill. Made with mode 0700."""
    chosen = os.environ.get("MEDISTILL_CACHE")
    if chosen:
        return private_folder(Path(chosen).expanduser())
    import platformdirs

    return private_folder(Path(platformdirs.user_cache_dir("medistill", appauthor=False)))


@dataclass(frozen=True)
class Purged:
    """What a purge removed: bytes, and how many corpora and trajectory stores."""

    bytes: int
    corpora: int
    trajectories: int


def purge(root: Path | None = None) -> Purged:
    """Remove every corpus and every trajectory from the cache; both hold or encode patients' data."""
    root = root or cache_root()
    counts = {"corpora": 0, "trajectories": 0}
    total = 0
    for kind in counts:
        folder = root / kind
        if folder.is_dir():
            counts[kind] = sum(1 for entry in folder.iterdir() if entry.is_dir())
            total += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            shutil.rmtree(folder)
    shutil.rmtree(root / "sources", ignore_errors=True)
    return Purged(total, **counts)
