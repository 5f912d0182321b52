"""Where corpora, trajectories and encoder-decoders lie between runs: a folder that only its owner can enter."""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass
from pathlib import Path

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache_users import join

KINDS = ("sources", "staging", "pulled", "corpora", "previews", "trajectories", "decoders", "denoisers", "features",
    "scores", "yardsticks", "tuning.json",
)  # fmt: skip
"""Folders and files of the cache that a purge removes: all that holds, encodes or was measured on what came from
patients. Encoders (`encoders`) saw none of them, and stay. `yardsticks` holds what networks on originals answered,
`scores` how hard they found each of these;
`staging` and `tuning.json` are what older versions left."""
BUILT_IN = "phantom"
"""The part of the cache that comes from nobody, and that a purge leaves alone."""


def cache_root() -> Path:
    """The cache to work in. Until it ends this process counts among those that work there, and a purge refuses."""
    root = cache_folder()
    join(root)
    return root


def cache_folder() -> Path:
    """``$MEDISTILL_CACHE``, or the platform's cache folder for medistill. Made with mode 0700."""
    chosen = os.environ.get("MEDISTILL_CACHE")
    if chosen:
        return private_folder(Path(chosen).expanduser())
    import platformdirs

    return private_folder(Path(platformdirs.user_cache_dir("medistill", appauthor=False)))


@dataclass(frozen=True)
class Held:
    """What the cache holds.

    Attributes:
        bytes: of all that a purge removes.
        corpora: how many.
        trajectories: how many stores of experts.
        decoders: how many encoder-decoders and denoisers, trained here or brought.
        features: how many corpora as frozen encoders see them.
        built_in_bytes: of the built-in corpus.
    """

    bytes: int
    corpora: int
    trajectories: int
    decoders: int
    features: int
    built_in_bytes: int

    @property
    def words(self) -> str:
        """What a purge removes, for a reader."""
        return (
            f"{self.corpora} corpora, {self.trajectories} sets of experts, {self.decoders} encoder-decoders or "
            f"denoisers and the features of {self.features} corpora"
        )

    def __sub__(self, other: Held) -> Held:
        """What is held here and not there."""
        return Held(*(mine - theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


def held(root: Path) -> Held:
    """Look through the cache at ``root``."""
    return Held(
        bytes=sum(_bytes(root / kind) for kind in KINDS),
        corpora=_folders(root / "corpora"),
        trajectories=_folders(root / "trajectories"),
        decoders=_folders(root / "decoders") + _folders(root / "denoisers"),
        features=_folders(root / "features"),
        built_in_bytes=_bytes(root / BUILT_IN),
    )


def _folders(folder: Path) -> int:
    return sum(1 for entry in folder.glob("*") if entry.is_dir())


def _bytes(place: Path) -> int:
    files = [place] if place.is_file() else place.rglob("*")
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())
