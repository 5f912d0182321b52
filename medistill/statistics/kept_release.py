"""The release of a run: drawn once, sealed and kept before anything is made of it, and never drawn again.

To draw again would spend the budget again, for nothing: the mean of two releases tells more of the patients than one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.class_statistics import ClassStatistics
from medistill.artifacts.kept import keep_tensors, read_checked
from medistill.artifacts.local_key import local_key, seal
from medistill.errors import ArtifactError, UsageError

KEPT = "release.safetensors"
STATISTICS, SEAL, KEY = "statistics", "seal", "key"


def kept_release(state: Path, key: str) -> ClassStatistics | None:
    """Return the release of a run; None where there is none, or what is there was not written here as it is.

    Args:
        state: folder of the run's state.
        key: of all that decides the release but for the noise.

    Raises:
        UsageError: there is one that was made under other settings, or of another corpus.
    """
    found = _read(state)
    if found is None:
        return None
    statistics, made_with = found
    if made_with != key:
        raise UsageError(
            f"{state} holds a release of class statistics that was made under other settings, or of another corpus",
            expected="the settings and the corpus that the run began with",
            do="repeat the first command with --resume, or choose another --out, which spends anew",
        )
    return statistics


def is_kept(state: Path) -> bool:
    """Whether a release lies there as it was drawn."""
    return _read(state) is not None


def draw_release(state: Path, key: str, draw: Callable[[], ClassStatistics]) -> ClassStatistics:
    """Draw a release and keep it, readable by its owner alone.

    Args:
        state: folder of the run's state.
        key: as for `kept_release`.
        draw: spends the budget; it is in the ledger, and marked there as drawn, before this is called.
    """
    statistics = draw()
    data = statistics.to_bytes()
    arrays = {STATISTICS: np.frombuffer(data, np.uint8), SEAL: _seal(data, key)}
    keep_tensors(private_folder(state) / KEPT, arrays, {KEY: key})
    return statistics


def _read(state: Path) -> tuple[ClassStatistics, str] | None:
    """Return what was kept, and its key, if this installation wrote it as it is."""
    try:
        arrays, told = read_checked(state / KEPT, "release of class statistics")
        data, key = arrays[STATISTICS].tobytes(), told[KEY]
        if not np.array_equal(arrays[SEAL], _seal(data, key)):
            return None
        return ClassStatistics.from_bytes(data, str(state / KEPT)), key
    except (ArtifactError, KeyError):
        return None


def _seal(data: bytes, key: str) -> np.ndarray:
    """Uint8 (32,), by which this installation knows a release that it drew."""
    digest = hashlib.sha256(data).digest()
    sealed = seal(local_key(), "release of class statistics", key.encode(), digest)
    return np.frombuffer(bytes.fromhex(sealed), np.uint8)
