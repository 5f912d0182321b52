"""Kept: results in files that tell, when they are read, whether they are still what was written.

The checksum of a file covers its name as well, so that two files that changed places are noticed. It guards against
damage and mistakes. Whoever can write to the folder can write a checksum, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medistill.artifacts.atomic import (
    parse_json,
    read_bytes,
    read_json,
    read_tensors,
    unwritable,
    write_json,
    write_tensors,
)
from medistill.errors import ArtifactError

CHECKSUM = "checksum"
"""Where it stands: in the metadata of safetensors, and among the fields of a JSON object."""


def keep_tensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays with their checksum, readable by their owner alone.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written.
    """
    stored = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_tensors(path, stored, {**metadata, CHECKSUM: _of_tensors(path.name, stored, metadata)}, private=True)


def read_checked(path: Path, what: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and metadata that `keep_tensors` wrote; ``what`` names the thing in messages.

    Raises:
        ArtifactError: missing, damaged, another file under this name, or written by a version without checksums.
    """
    arrays, metadata = read_tensors(path, what)
    _compare(path, what, metadata.pop(CHECKSUM, None), _of_tensors(path.name, arrays, metadata))
    return arrays, metadata


def read_kept(path: Path, key: str, what: str, say: Callable[[str], None]) -> dict[str, np.ndarray] | None:
    """The arrays that were kept under ``key`` in the metadata; None where they have to be made again.

    A file that is damaged, or that a version without checksums wrote, is removed.

    Args:
        path: the file; it need not be there.
        key: of all that decides the arrays.
        what: names the thing in messages.
        say: told of every file that is removed.

    Raises:
        ArtifactError: such a file cannot be removed.
    """
    if not path.is_file():
        return None
    try:
        arrays, metadata = read_checked(path, what)
    except ArtifactError as error:
        say(f"{error.seen}: made again.")
        remove_kept(path)
        return None
    return arrays if metadata.get("key") == key else None


def keep_json(path: Path, value: Mapping[str, Any], *, private: bool = False) -> None:
    """Write a JSON object with its checksum as the last field.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written.
    """
    write_json(path, {**value, CHECKSUM: _of_json(path.name, value)}, private=private)


def read_result(path: Path, what: str) -> dict[str, Any]:
    """A result that `keep_json` wrote, without its checksum; one of a version without checksums is taken as it is.

    Raises:
        ArtifactError: missing, no JSON object, damaged, or another file under this name.
    """
    return parse_result(read_bytes(path, what), path, what)


def parse_result(data: bytes, path: Path, what: str) -> dict[str, Any]:
    """The same of the bytes of the file ``path``, for whoever asks more of these very bytes."""
    value = parse_json(data, path, what)
    if CHECKSUM in value:
        _compare(path, what, value.pop(CHECKSUM), _of_json(path.name, value))
    return value


def read_checked_json(path: Path, what: str) -> dict[str, Any]:
    """As `read_result`, for what can be made again.

    Raises:
        ArtifactError: as there, or it has no checksum.
    """
    value = read_json(path, what)
    _compare(path, what, value.pop(CHECKSUM, None), _of_json(path.name, value))
    return value


def _of_tensors(name: str, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """SHA-256 over a file's name, its metadata, and name, type, shape and bytes of every array."""
    layout = [[of, array.dtype.str, list(array.shape)] for of, array in sorted(arrays.items())]
    digest = hashlib.sha256(json.dumps([name, sorted(metadata.items()), layout]).encode())
    for _, array in sorted(arrays.items()):
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _of_json(name: str, value: Mapping[str, Any]) -> str:
    """SHA-256 over a file's name and the values in it, however they are laid out."""
    plain = json.loads(json.dumps(value, allow_nan=False))  # keys are text in the file, whatever they are here
    return hashlib.sha256(json.dumps([name, plain], sort_keys=True).encode()).hexdigest()


def _compare(path: Path, what: str, stored: object, seen: str) -> None:
    if stored == seen:
        return
    why = "its checksum does not fit" if stored is not None else "it has no checksum, as older versions wrote it"
    raise ArtifactError(
        f"{what}: {path} cannot be used ({why})",
        expected="the file as this version of medistill wrote it, under its own name",
        do="put the right file back, or remove it and run the command that wrote it again (`distill` with --resume)",
    )


def remove_kept(path: Path) -> None:
    """Remove a file of which what was kept is to be made again.

    Raises:
        ArtifactError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
