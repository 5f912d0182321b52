"""What someone on the way can do to the bytes of a bundle: each attack takes its files and gives a file to open."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image
from safetensors.numpy import load, save

from tests.factories import sent_bundle

Files = dict[str, bytes]
Attack = Callable[[Files], bytes]


def canonical(files: Mapping[str, bytes]) -> bytes:
    """As medistill writes it, but for names that it would refuse to write."""
    return zipped(sorted(files.items()))


def zipped(
    entries: list[tuple[str, bytes]],
    method: int = zipfile.ZIP_STORED,
    comment: bytes = b"",
    change: Callable[[zipfile.ZipInfo], None] = lambda entry: None,
) -> bytes:
    """Entries in that order, each changed by ``change``."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        for name, data in entries:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr, entry.compress_type = 3, (stat.S_IFREG | 0o644) << 16, method
            change(entry)
            archive.writestr(entry, data)
        archive.comment = comment
    return held.getvalue()


def plus(name: str, data: bytes = b"x", **options: object) -> Attack:
    """The good files and one more."""
    return lambda files: zipped(sorted([*files.items(), (name, data)]), **options)  # type: ignore[arg-type]


def with_name(raw: bytes) -> Attack:
    """The good files and one whose name is these bytes, which no library would write."""

    def make(files: Files) -> bytes:
        stand_in = "A" * len(raw)
        return zipped(sorted([*files.items(), (stand_in, b"x")])).replace(stand_in.encode(), raw)

    return make


def each(field: str, value: object) -> Attack:
    """The good files with one field of every entry set to something else."""
    return lambda files: zipped(sorted(files.items()), change=lambda entry: setattr(entry, field, value))


def end_with(place: int, form: str, value: int) -> Attack:
    """A lie in the record at the end."""

    def make(files: Files) -> bytes:
        held = bytearray(canonical(files))
        struct.pack_into(form, held, len(held) - 22 + place, value)
        return bytes(held)

    return make


def directory_with(place: int, form: str, value: int, number: int = 1) -> Attack:
    """A lie in an entry of the directory."""

    def make(files: Files) -> bytes:
        held = bytearray(canonical(files))
        at = struct.unpack_from("<I", held, len(held) - 6)[0]
        for _ in range(number):
            at += 46 + struct.unpack_from("<H", held, at + 28)[0]
        struct.pack_into(form, held, at + place, value)
        return bytes(held)

    return make


def held_otherwise(**changes: Callable[[bytes], bytes]) -> Attack:
    """Files changed, the manifest made to fit, the signature left out: nothing but the content can tell."""

    def make(files: Files) -> bytes:
        changed = unsigned(files)
        for name, change in changes.items():
            key = next(known for known in files if known.replace(".", "_").replace("/", "_") == name)
            changed[key] = change(changed[key])
        return canonical(sent_bundle.listed_anew(changed))

    return make


def tensors(**changes: Callable[[np.ndarray], np.ndarray]) -> Attack:
    """The set changed, all else made to fit."""

    def change(data: bytes) -> bytes:
        held = load(data)
        return save({**held, **{name: np.ascontiguousarray(make(held[name])) for name, make in changes.items()}}, {})

    return held_otherwise(images_safetensors=change)


def put(place: tuple[int, ...], value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[place] = value
        return array

    return change


def manifest(change: Callable[[bytes], bytes]) -> Attack:
    """The manifest rewritten, unsigned."""
    return lambda files: canonical({**unsigned(files), "manifest.json": change(files["manifest.json"])})


def says(**changes: object) -> Attack:
    """A manifest of the right form that says something else, unsigned."""
    return lambda files: canonical(sent_bundle.listed_anew(unsigned(files), **changes))


def key_set(name: str, value: object) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        told = json.loads(data) | {name: value}
        return (json.dumps(told, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()

    return change


def without(name: str) -> Attack:
    return lambda files: canonical({known: data for known, data in files.items() if known != name})


def held_otherwise_plus(name: str, data: bytes = b"x") -> Attack:
    """One file more, in the manifest too."""
    return lambda files: canonical(sent_bundle.listed_anew({**unsigned(files), name: data}))


def flipped(files: Files, name: str) -> bytes:
    """One bit of a file turned, as a bad line does."""
    held = bytearray(canonical(files))
    held[held.index(files[name]) + len(files[name]) // 2] ^= 4
    return bytes(held)


def linked(files: Files) -> bytes:
    """A file that is a symbolic link to another."""

    def change(entry: zipfile.ZipInfo) -> None:
        if entry.filename == "README.md":
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16

    return zipped(sorted(files.items()), change=change)


def counted(files: Files, more: int) -> bytes:
    """The record at the end counts that many entries more."""
    held = bytearray(canonical(files))
    struct.pack_into("<HH", held, len(held) - 14, len(files) + more, len(files) + more)
    return bytes(held)


def listing(name: str) -> Callable[[bytes], bytes]:
    """The manifest lists a file that cannot be there."""

    def change(data: bytes) -> bytes:
        listed = json.loads(data)["files"]
        return key_set("files", {**listed, name: {"bytes": 0, "sha256": "0" * 64}})(data)

    return change


def signature_kept(files: Files) -> bytes:
    """The data card changed, the manifest made to fit, the signature as it was."""
    changed = sent_bundle.listed_anew({**files, "README.md": b"# Better\n"})
    return canonical(changed)


def signature(**changes: object) -> Attack:
    """The file of the signature says something else."""

    def make(files: Files) -> bytes:
        told = json.loads(files["manifest.sig"]) | changes
        return canonical({**files, "manifest.sig": (json.dumps(told, indent=2) + "\n").encode()})

    return make


def unsigned(files: Files) -> Files:
    """The files without the signature."""
    return {name: data for name, data in files.items() if name != "manifest.sig"}


def overlapping(files: Files) -> bytes:
    """Two entries of the directory that share the bytes of one file (Fifield 2019, full overlap)."""
    held = bytearray(canonical(files))
    at = struct.unpack_from("<I", held, len(held) - 6)[0]
    second = at + 46 + struct.unpack_from("<H", held, at + 28)[0]
    held[second + 42 : second + 46] = held[at + 42 : at + 46]
    return bytes(held)


def quoted_overlap(files: Files) -> bytes:
    """Files of which each quotes the headers of the next ones as its own content (Fifield 2019)."""
    names = [b"previews/%04d.png" % k for k in range(200)]
    body, locals_, directory = b"\0" * 1000, b"", b""
    for name in reversed(names):
        crc = zlib.crc32(locals_ + body)
        size = len(locals_) + len(body)
        locals_ = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, crc, size, size, len(name), 0) + name + locals_
    at = 0
    for k, name in enumerate(names):
        quoted = sum(30 + len(later) for later in names[k + 1 :])
        inside = locals_[at + 30 + len(name) :] + body
        fixed = (b"PK\1\2", 3 << 8 | 20, 20, 0, 0, 0, 33, zlib.crc32(inside), quoted + 1000, quoted + 1000)
        directory += struct.pack("<4s6H3I5H2I", *fixed, len(name), 0, 0, 0, 0, 0o100644 << 16, at) + name
        at += 30 + len(name)
    start = len(locals_) + len(body)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(names), len(names), len(directory), start, 0)
    return locals_ + body + directory + end


def png_with(kind: bytes, data: bytes) -> Callable[[bytes], bytes]:
    """A PNG with one chunk more."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return lambda held: held[:33] + chunk + held[33:]


def huge_png(held: bytes) -> bytes:
    """A PNG that declares 50,000 x 50,000 pixels."""
    head = b"IHDR" + struct.pack(">II", 50_000, 50_000) + held[24:29]
    return held[:12] + head + struct.pack(">I", zlib.crc32(head)) + held[33:]


def another_picture(held: bytes) -> bytes:
    picture = Image.open(io.BytesIO(held))
    out = io.BytesIO()
    Image.eval(picture, lambda level: 255 - level).save(out, "PNG")
    return out.getvalue()
