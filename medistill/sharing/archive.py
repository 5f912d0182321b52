"""The archive of a bundle: a zip of which there is exactly one for the same files, and a reader that takes no other.

Every file is stored, none compressed, so an archive is as large as what it holds. Names, sizes, checksums and places
are all that differs between two archives; every other byte of a header is fixed (.ZIP File Format Specification 6.3.10,
sections 4.3.7, 4.3.12 and 4.3.16). What a program could hide elsewhere has no place to be.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

from medistill.artifacts.atomic import write_atomically
from medistill.errors import ArtifactError

MOST_BYTES = 2**31
"""Size of the largest archive; a zip needs no other format (zip64) up to twice this."""
MOST_ENTRIES = 20_000
MOST_JSON_BYTES = 2**23
"""Size of the largest file that is parsed as JSON when a bundle is opened: parsed, it takes some 50 times this."""
PARSED = (b"manifest.json", b"manifest.sig", b"audit.json", b"privacy.json")
NAME = re.compile(
    rb"README\.md|audit\.html|audit\.json|contact_sheet\.png|croissant\.json|images\.safetensors|labels\.csv"
    rb"|manifest\.json|manifest\.sig|privacy\.json|statistics\.safetensors|report\.html|report\.json|previews/[0-9]{4,5}\.png|dicom/[0-9]{4,5}\.dcm"
)
"""The names that a file of a bundle may have."""
_ANY_CASE = re.compile(NAME.pattern, re.IGNORECASE)
_MOST_DIRECTORY = 2**22

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20
_MADE_ON = 3 << 8 | _VERSION
_1980 = 1 << 5 | 1
_MODE = (stat.S_IFREG | 0o644) << 16
_ZIP64 = 0xFFFFFFFF


class _Record(NamedTuple):
    """The fields of an entry of the central directory, in their order."""

    signature: bytes
    made_on: int
    version: int
    flags: int
    method: int
    time: int
    date: int
    crc: int
    compressed: int
    size: int
    name_bytes: int
    extra_bytes: int
    comment_bytes: int
    disk: int
    internal: int
    external: int
    offset: int


@dataclass(frozen=True)
class _Entry:
    """A file in the archive: what its two headers say of it."""

    name: bytes
    crc: int
    size: int
    offset: int

    def local(self) -> bytes:
        """The header before its bytes."""
        fixed = (_VERSION, 0, 0, 0, _1980, self.crc, self.size, self.size, len(self.name), 0)
        return _LOCAL.pack(b"PK\3\4", *fixed) + self.name

    def central(self) -> bytes:
        """Its entry in the directory at the end."""
        fixed = (_MADE_ON, _VERSION, 0, 0, 0, _1980, self.crc, self.size, self.size, len(self.name), 0, 0, 0, 0, _MODE)
        return _CENTRAL.pack(b"PK\1\2", *fixed, self.offset) + self.name

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + _LOCAL.size + len(self.name) + self.size


def write_archive(path: Path, files: Mapping[str, bytes]) -> None:
    """Write the archive that holds ``files``, whole or not at all.

    Raises:
        ArtifactError: a name that a bundle has not, too many files or bytes, or no room on the disk.
    """
    entries, offset = [], 0
    for name in sorted(name.encode() for name in files):
        held = files[name.decode()]
        entries.append(_Entry(name, zlib.crc32(held), len(held), offset))
        offset = entries[-1].end
    for number, entry in enumerate(entries, 1):
        _check_name(path, entry.name, f"file {number} of {len(entries)}", entry.size)
    directory = b"".join(entry.central() for entry in entries)
    if offset + len(directory) + _END.size > MOST_BYTES or len(entries) > MOST_ENTRIES:
        raise ArtifactError(
            f"the bundle {path} would hold {len(entries)} files and {offset} bytes",
            expected=f"at most {MOST_ENTRIES} files and {MOST_BYTES} bytes",
            do="share a smaller set, or share it without --dicom",
        )
    tail = directory + _END.pack(b"PK\5\6", 0, 0, len(entries), len(entries), len(directory), offset, 0)

    def fill(target: Path) -> None:
        with target.open("wb") as file:
            for entry in entries:
                file.write(entry.local())
                file.write(files[entry.name.decode()])
            file.write(tail)

    write_atomically(path, fill)


def read_archive(path: str | Path) -> dict[str, bytes]:
    """Read every file of an archive into memory; nothing is written.

    The directory is read first, and everything that it says is checked before the first file is read.

    Returns:
        The bytes of each file by its name, in the order of the archive, which is that of the names.

    Raises:
        ArtifactError: it is not, byte for byte, the archive that `write_archive` writes for the files in it.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path} is no file", expected="a bundle, which is a file", do="check the path")
    try:
        with path.open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            entries = list(_directory(path, file, total))
            file.seek(0)
            return {entry.name.decode(): _content(path, file, entry) for entry in entries}
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read: {error.strerror or error}",
            expected="a bundle that you may read",
            do="check its permissions and the disk",
        ) from None


def _directory(path: Path, file: IO[bytes], total: int) -> Iterator[_Entry]:
    """Every entry of the directory, checked."""
    if total > MOST_BYTES:
        _refuse(path, f"it is {total} bytes long, and no bundle is longer than {MOST_BYTES}")
    count, size, start = _end(path, file, total)
    file.seek(start)
    held, place = _take(path, file, size), 0
    before: _Entry | None = None
    for number in range(1, count + 1):
        entry, place = _entry(path, held, place, f"entry {number} of {count}")
        _check_order(path, before, entry, f"entry {number} of {count}")
        before = entry
        yield entry
    if place != size:
        _refuse(path, f"its directory goes on after the {count} entries that it counts")
    if (before.end if before else 0) != start:
        _refuse(path, "there are bytes between its last file and its directory")


def _end(path: Path, file: IO[bytes], total: int) -> tuple[int, int, int]:
    """Entries, size and place of the directory, from the record at the end."""
    file.seek(max(0, total - _END.size))
    found = file.read(_END.size)
    if len(found) < _END.size or found[:4] != b"PK\5\6":
        file.seek(max(0, total - 2**16 - _END.size))
        last = file.read()
        if 0 <= last.rfind(b"PK\5\6") <= len(last) - _END.size:
            _refuse(path, "it has a comment, or other bytes were appended to it")
        _refuse(path, "it has not the end of a zip file: it was cut off, or is something else")
    _, disk, start_disk, here, count, size, start, comment = _END.unpack(found)
    if here == 0xFFFF or count == 0xFFFF or _ZIP64 in (size, start):
        _refuse(path, "it is in the zip64 format, which no bundle needs")
    if disk or start_disk or here != count or comment:
        _refuse(path, "the record at its end says that it has several parts or a comment")
    if count > MOST_ENTRIES or size > _MOST_DIRECTORY:
        _refuse(path, f"it declares {count} files in a directory of {size} bytes; at most {MOST_ENTRIES} are taken")
    if start + size + _END.size != total:
        _refuse(path, "its directory is not where its end says: something stands before it, or it was cut off")
    return count, size, start


def _entry(path: Path, held: bytes, place: int, which: str) -> tuple[_Entry, int]:
    """The entry of the directory at ``place``, and the place of the next one."""
    if len(held) < place + _CENTRAL.size or held[place : place + 4] != b"PK\1\2":
        _refuse(path, f"{which} is missing from its directory")
    record = _Record(*_CENTRAL.unpack_from(held, place))
    stop = place + _CENTRAL.size + record.name_bytes
    name = held[place + _CENTRAL.size : stop]
    for wrong, what in (
        (record.flags & 0x2041, "is encrypted"),
        (record.method, "is compressed, and might unpack to any size; a bundle stores its files as they are"),
        (_ZIP64 in (record.size, record.compressed, record.offset), "is in the zip64 format, which no bundle needs"),
        (record.size != record.compressed, "declares two sizes"),
        (record.extra_bytes, "has an extra field, where zip64 sizes, times and owners travel"),
        (record.comment_bytes, "has a comment"),
        (stat.S_ISLNK(record.external >> 16), "is a symbolic link"),
    ):
        if wrong:
            _refuse(path, f"{which} {what}")
    _check_name(path, name, which, record.size)
    entry = _Entry(name, record.crc, record.size, record.offset)
    if held[place:stop] != entry.central():
        _refuse(path, f"{which} has a header that medistill does not write, so another program zipped it again")
    return entry, stop


def _check_name(path: Path, name: bytes, which: str, size: int) -> None:
    """Refuse a name that no file of a bundle has, without quoting it: it may name a person."""
    parts = name.replace(b"\\", b"/").split(b"/")
    for wrong, what in (
        (b"\0" in name, "has a NUL in its name"),
        (b"\\" in name, "has a backslash in its name"),
        (name.startswith(b"/") or b":" in parts[0], "has an absolute path for a name"),
        (b".." in parts, "has a name that leads out of the folder"),
        (name.endswith(b"/"), "is a folder"),
        (not _ANY_CASE.fullmatch(name), "is a file that does not belong in a bundle"),
        (not NAME.fullmatch(name), "differs from a file of a bundle in capitals alone"),
        (name in PARSED and size > MOST_JSON_BYTES, f"declares {size} bytes, at most {MOST_JSON_BYTES} for its kind"),
    ):
        if wrong:
            _refuse(path, f"{which} {what}")


def _check_order(path: Path, before: _Entry | None, entry: _Entry, which: str) -> None:
    """Refuse entries that are not in the order of their names, or that do not lie end to end."""
    if before and entry.name == before.name:
        _refuse(path, f"{which} has the name of the one before it")
    if before and entry.name < before.name:
        _refuse(path, f"{which} is not in the order of the names, so another program zipped it again")
    if entry.offset != (before.end if before else 0):
        _refuse(path, f"{which} does not begin where the one before it ends: they overlap, or leave a gap")


def _content(path: Path, file: IO[bytes], entry: _Entry) -> bytes:
    """The bytes of the entry where the file stands now."""
    name = entry.name.decode()
    header = entry.local()
    if _take(path, file, len(header)) != header:
        _refuse(path, f"the header before {name} differs from the one in the directory")
    held = _take(path, file, entry.size)
    if zlib.crc32(held) != entry.crc:
        _refuse(path, f"{name} was altered or damaged: its checksum is another")
    return held


def _take(path: Path, file: IO[bytes], count: int) -> bytes:
    held = file.read(count)
    if len(held) < count:
        _refuse(path, "it ends too early")
    return held


def _refuse(path: Path, why: str) -> NoReturn:
    raise ArtifactError(
        f"{path} is refused: {why}",
        expected="a bundle exactly as medistill wrote it",
        do="ask the sender for it again, and for its SHA-256; pass the file on as it is, never zipped again",
    )
