"""Files that are there whole or not at all, and private where they hold patients' data."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medistill.errors import ArtifactError
from medistill.visible import json_text

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
OPEN_FOLDER = 0o777
"""Of what holds no patients' data, less the umask."""


def private_folder(path: Path) -> Path:
    """Make a folder, and its parents, that only its owner can enter.

    Raises:
        ArtifactError: it cannot be made.
    """
    try:
        _make_folder(path, PRIVATE_FOLDER)
        path.chmod(PRIVATE_FOLDER)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def _make_folder(path: Path, mode: int) -> None:
    """Make a folder where it is missing, and its missing parents with the same mode, which `Path.mkdir` does not."""
    if not path.is_dir():
        if path.parent != path:
            _make_folder(path.parent, mode)
        path.mkdir(mode=mode, exist_ok=True)


def write_atomically(path: Path, write: Callable[[Path], None], *, private: bool = False) -> None:
    """Let ``write`` fill a neighbour of ``path``, flush it to disk, then rename it into place.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written; what stood at ``path`` is untouched.
    """
    neighbour = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")  # pids repeat across machines
    try:
        _make_folder(path.parent, PRIVATE_FOLDER if private else OPEN_FOLDER)
        neighbour.touch(mode=PRIVATE_FILE if private else 0o644)
        mode = neighbour.stat().st_mode
        write(neighbour)
        neighbour.chmod(mode)  # safetensors puts a file of its own there, which only the owner may read
        with neighbour.open("rb") as written:
            os.fsync(written.fileno())
        neighbour.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    except Exception as error:
        wrapped = re.search(r"\(os error (\d+)\)", str(error))  # safetensors wraps the system's error in its own
        if wrapped is None:
            raise
        code = int(wrapped[1])
        raise unwritable(path, OSError(code, os.strerror(code))) from error
    finally:
        if neighbour.exists():  # not where the folder turned out to be a file
            neighbour.unlink()


def unwritable(path: Path, error: OSError) -> ArtifactError:
    """Say why ``path`` could not be written, and what to do."""
    again = "repeat the command (`distill` with --resume); nothing that was finished is lost"
    full = _full(path, error)
    if full:
        why, need, do = full
        return ArtifactError(f"{why}: {path} could not be written", expected=need, do=f"{do}, then {again}")
    why, need, do = _UNWRITABLE.get(
        error.errno or 0, ("", "a folder that you may write to", "choose another folder, or correct its permissions")
    )
    return ArtifactError(f"{path} could not be written: {why or error.strerror or error}", expected=need, do=do)


_UNWRITABLE = {
    errno.EROFS: ("the file system is read-only", "one that can be written to", "choose a folder elsewhere"),
    errno.ENAMETOOLONG: ("the name is too long", "one that the file system takes", "choose a shorter name"),
    errno.ENOTDIR: ("a file stands where a folder should be", "a folder there", "choose another path"),
    errno.EEXIST: ("a file stands where a folder should be", "a folder there", "choose another path"),
    errno.EISDIR: ("a folder stands there", "a file, or nothing", "choose another path"),
}
"""What was seen, what was expected and what to do, where that is something else than permissions."""


def _full(path: Path, error: OSError) -> tuple[str, str, str] | None:
    """The same, where there is no room: of bytes, of files, of a quota, or of a limit on the size of a file."""
    if error.errno == errno.EDQUOT:
        return "your quota of the disk is used up", "room within the quota", "remove files of yours"
    if error.errno == errno.EFBIG:
        return (
            "the file would be too large",
            "a limit that lets it be written",
            "raise the limit on files (`ulimit -f`)",
        )
    if error.errno != errno.ENOSPC:
        return None
    try:
        disk = os.statvfs(_standing(path.parent))
    except (OSError, AttributeError):  # Windows has no statvfs
        return "the disk is full", "room for the output", "free space"
    free = disk.f_bavail * disk.f_frsize // 2**20
    if disk.f_files and not disk.f_favail:
        what = f"the disk has no room for another file (no inodes are free, though {free} MiB are)"
        return what, "inodes for the output", "remove files, however small"
    return f"the disk is full ({free} MiB free)", "room for the output", "free space"


def _standing(folder: Path) -> Path:
    """The nearest folder above that is there."""
    return next((above for above in (folder, *folder.parents) if above.exists()), folder)


def write_bytes(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write bytes atomically."""

    def put(file: Path) -> None:
        file.write_bytes(content)

    write_atomically(path, put, private=private)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write UTF-8 text atomically."""

    def put(file: Path) -> None:
        file.write_text(text, encoding="utf-8")

    write_atomically(path, put, private=private)


def write_json(path: Path, value: Mapping[str, Any], *, private: bool = False) -> None:
    """Write JSON atomically, keys in the order given. NaN and infinities are refused: JSON has none."""
    write_text(path, json_text(value) + "\n", private=private)


def read_json(path: Path, what: str, *, most: int | None = None) -> dict[str, Any]:
    """Read a JSON object; arguments and errors are those of `read_bytes`, and it may be damaged."""
    return parse_json(read_bytes(path, what, most=most), path, what)


def read_bytes(path: Path, what: str, *, most: int | None = None) -> bytes:
    """Read a file of JSON, for whoever needs its bytes as well.

    Args:
        what: names the thing in messages.
        most: bytes that it may have, where it comes from outside; None sets no limit.

    Raises:
        ArtifactError: missing, unreadable or too long.
    """
    try:
        with path.open("rb") as file:
            data = file.read(-1 if most is None else most + 1)
    except FileNotFoundError:
        raise ArtifactError(f"{what}: {path} is missing", expected="that file", do="check the path") from None
    except OSError as error:
        raise _no_json(what, path, error) from None
    if most is not None and len(data) > most:
        raise ArtifactError(
            f"{what}: {path} is longer than {most // 2**20} MiB", expected="a record of a few kB", do="do not use it"
        )
    return data


def parse_json(data: bytes, name: str | Path, what: str) -> dict[str, Any]:
    """Read a JSON object from the bytes of a file; ``name`` is what the file is called, ``what`` what it should be.

    Raises:
        ArtifactError: not UTF-8, not JSON, no object, nested too deep, a key twice, or a value that JSON has not.
    """
    try:
        text = data.decode("utf-8")
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_each_key_once)
        if "\\ud" in text.lower():  # half a character: it could not be written down again
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _no_json(what, name, error) from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{what}: {name} holds no JSON object", expected="a JSON object", do="make it again")
    return value


def deeper_than(value: Any, levels: int) -> bool:
    """Whether plain values are nested more levels deep; it stops at the first that is."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return parts is not None and (levels == 0 or any(deeper_than(part, levels - 1) for part in parts))


def _no_json(what: str, name: str | Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{what}: {name} cannot be read ({error})", expected="a JSON object", do="make it again, or fetch it again"
    )


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"it holds {name}, which JSON has not")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"it holds {digits}, which is too large for a number")
    return number


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None, *, private: bool = False
) -> None:
    """Write arrays as safetensors, atomically. Every array is made contiguous first (the format assumes it)."""
    from safetensors.numpy import save_file

    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    write_atomically(path, lambda file: save_file(arrays, str(file), dict(metadata or {})), private=private)


def read_tensors(path: Path, what: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read every array of a safetensors file, and its metadata.

    Raises:
        ArtifactError: missing, truncated or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ArtifactError(f"{what}: {path} is missing", expected="that file", do="check the path")
    try:
        with safe_open(str(path), framework="np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{what}: {path} is damaged ({error})",
            expected="an intact safetensors file",
            do="remove it and run the command again (`distill` with --resume), or fetch it again",
        ) from None
