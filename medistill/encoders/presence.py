"""Presence: where brought encoders lie, and whether one is there, for whoever does not run it and needs no torch."""

from __future__ import annotations

from pathlib import Path

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root


def encoders_folder() -> Path:
    """Return the folder of the cache with a folder for each encoder, which its hash names."""
    return private_folder(cache_root() / "encoders")


def has_encoder(sha256: str) -> bool:
    """Whether an encoder lies in the cache, whole or not."""
    return (encoders_folder() / sha256).is_dir()
