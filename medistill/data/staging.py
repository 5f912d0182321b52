"""Staging: decoded chunks of a corpus on disk, until it is whole; an interrupted reading goes on from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import write_atomically
from medistill.artifacts.kept import keep_tensors, read_checked
from medistill.data.decoded import Decoded, decoded_from
from medistill.errors import ArtifactError

CHUNK = 32
"""Files in a chunk."""


def keep(staging: Path, first: int, decoded: Sequence[Decoded]) -> list[Decoded]:
    """Write the chunk that begins with file ``first``, and return it without its pixels."""
    pixels = [one.pixels for one in decoded if one.pixels is not None]
    without = [replace(one, pixels=None) for one in decoded]
    arrays = {"pixels": np.stack(pixels) if pixels else np.zeros((0, 1, 1, 1), np.uint8)}
    said = json.dumps([asdict(one) for one in without])
    keep_tensors(_path(staging, first), arrays, {"said": said})
    return without


def kept(staging: Path, first: int, count: int) -> list[Decoded] | None:
    """A chunk of an interrupted reading without its pixels; None where it is not there or not whole."""
    if not _path(staging, first).is_file():
        return None
    try:
        decoded, _ = _read(_path(staging, first))
    except (ArtifactError, KeyError, ValueError, TypeError):
        return None
    return decoded if len(decoded) == count else None


def collect(staging: Path, chosen: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Bring the pixels of some files together on disk.

    Args:
        chosen: numbers of accepted files, ascending.
        shape: (C, H, W) of each.

    Returns:
        uint8 (len(chosen), C, H, W), a read-only memory map, so that a corpus need not fit into memory.

    Raises:
        ArtifactError: the disk is full, or a chunk was damaged since it was written.
    """
    whole = staging / "images.raw"
    numbers = np.asarray(chosen, np.int64)

    def fill(file: Path) -> None:
        with file.open("wb") as handle:
            for first in np.unique(numbers // CHUNK * CHUNK).tolist():
                decoded, pixels = _read(_path(staging, first))
                rows = np.cumsum([not one.category for one in decoded]) - 1
                start, end = np.searchsorted(numbers, [first, first + CHUNK])
                handle.write(np.ascontiguousarray(pixels[rows[numbers[start:end] - first]]).data)

    write_atomically(whole, fill, private=True)
    return np.memmap(whole, np.uint8, "r", shape=(len(chosen), *shape))


def clear(staging: Path) -> None:
    """Remove the chunks, once the corpus is written."""
    shutil.rmtree(staging, ignore_errors=True)


def _path(staging: Path, first: int) -> Path:
    return staging / f"{first}.safetensors"


def _read(path: Path) -> tuple[list[Decoded], np.ndarray]:
    arrays, metadata = read_checked(path, "staged images")
    return [decoded_from(one) for one in json.loads(metadata["said"])], arrays["pixels"]
