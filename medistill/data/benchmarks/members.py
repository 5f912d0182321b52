"""Members: the expected files of a benchmark, read into memory from its folder or archive, within bounds.

Nothing is unpacked to disk, so names that lead out of a folder lead nowhere; a member that is a link or a device is
refused, and an archive that unfolds to more than its content can need is given up at that size.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from medistill.data.benchmarks.images import altered
from medistill.errors import DataError

SLACK = 2**26
"""Bytes that an archive may unfold to beyond the files that are wanted: readme files, headers, padding."""
PIECE = 2**20


def find(data: Path, folder: str, archive: str, telltale: str) -> Path | None:
    """Where a benchmark's files lie: in ``data`` itself, in a folder or an archive in it; None where nowhere.

    Args:
        data: what the user named: a folder, or the archive.
        folder: the name that the authors' archive gives its only folder.
        archive: name of that archive.
        telltale: a file that the unpacked folder holds, and no other version's, by which it is known.
    """
    if data.is_file():
        return data if data.name == archive else None
    if (data / telltale).exists() or data.name == folder:
        return data
    if (data / folder).is_dir():
        return data / folder
    return data / archive if (data / archive).is_file() else None


def read_members(place: Path, folder: str, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """Read files of a folder or a .tar.gz archive.

    Args:
        place: the folder or the archive.
        folder: the archive's folder that holds the files.
        sizes: name -> the most bytes that the file may have.

    Raises:
        DataError: one is missing, too large, no plain file or twice there, or the archive is damaged.
    """
    found = _from_folder(place, sizes) if place.is_dir() else _from_archive(place, folder, sizes)
    if absent := [name for name in sizes if name not in found]:
        raise DataError(
            f"{place} lacks {', '.join(absent)}",
            expected=f"all of {', '.join(sizes)}",
            do="unpack the authors' archive again, or take the folder away and let --download fetch it",
        )
    return found


def _from_folder(place: Path, sizes: Mapping[str, int]) -> dict[str, bytes]:
    found = {}
    for name, limit in sizes.items():
        file = place / name
        if not file.is_file():
            continue
        with file.open("rb") as opened:
            found[name] = _within(opened.read(limit + 1), limit, file)
    return found


def _from_archive(place: Path, folder: str, sizes: Mapping[str, int]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    limit = sum(sizes.values()) + SLACK
    try:
        with gzip.open(place, "rb") as unfolded, _tar(stream := _Bounded(unfolded, limit, place)) as archive:
            for member in archive:
                name = member.name.removeprefix("./").removeprefix(f"{folder}/")
                if name not in sizes or member.name.removeprefix("./") != f"{folder}/{name}":
                    continue
                where = f"{name} in {place}"
                if not member.isreg() or name in found:
                    kind = "there twice" if name in found else "a link or no plain file"
                    raise altered(where, f"it is {kind}", "one plain file")
                if member.size > sizes[name]:
                    raise altered(where, f"it has {member.size} bytes", f"at most {sizes[name]} bytes")
                content = archive.extractfile(member)
                found[name] = b"" if content is None else content.read()
            while stream.read(PIECE):
                """The checksum of the whole comes last."""
    except DataError:
        raise
    except Exception as error:  # tarfile raises many kinds on headers that make no sense
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise altered(place, f"it is cut off or damaged ({error})", "a whole .tar.gz archive") from None
    return found


def _tar(unfolded: _Bounded) -> tarfile.TarFile:
    return tarfile.open(fileobj=cast(io.BufferedIOBase, unfolded), mode="r|")


def _within(content: bytes, limit: int, file: Path) -> bytes:
    if len(content) > limit:
        raise altered(file, f"it has more than {limit} bytes", f"at most {limit} bytes")
    return content


class _Bounded:
    """A stream that ends in an error where it has given more than ``limit`` bytes."""

    def __init__(self, inner: gzip.GzipFile, limit: int, place: Path) -> None:
        self.inner, self.left, self.limit, self.place = inner, limit, limit, place

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes more."""
        piece = self.inner.read(min(size, PIECE))
        self.left -= len(piece)
        if self.left < 0:
            raise altered(self.place, f"it unfolds to more than {self.limit} bytes", "the authors' archive")
        return piece
