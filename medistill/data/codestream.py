"""Codestream: how large a coded frame says itself that it is, read before anything decodes it.

A decoder takes memory for what the codestream says, whatever the header of the file around it says. In JPEG, JPEG
Lossless and JPEG-LS that is the frame header (ITU-T T.81, B.2.2; T.87, C.2.2), in JPEG 2000 and HTJ2K the marker
segment SIZ (T.800, A.5.1), in WebP the first chunk (RFC 9649, 2.5 to 2.7).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

JPEG_START, JP2K_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
JP2_BOX = b"jP  \r\n\x87\n"
FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Second bytes of the markers that begin a frame header: SOF0 to SOF15, and SOF55 of JPEG-LS."""
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}


class CodedSize(NamedTuple):
    """What a codestream says of itself."""

    rows: int
    columns: int
    samples: int
    bits: int
    """Of a sample; of the first one, where they differ."""
    signed: bool = False
    """Whether it says that its samples have a sign; JPEG and JPEG-LS cannot say so."""


def coded_size(frame: bytes) -> CodedSize | None:
    """Size and depth of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K frame; None where none is stated where it must be."""
    try:
        if frame.startswith(JPEG_START):
            return _jpeg(frame)
        return _jpeg_2000(frame, _box(frame) if frame[4:12] == JP2_BOX else 0)
    except (struct.error, IndexError):
        return None


def _jpeg(frame: bytes) -> CodedSize | None:
    """Of the first frame header; segments before it, such as a thumbnail, are passed over."""
    at = len(JPEG_START)
    while frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in WITHOUT_LENGTH:
            at += 2
        elif marker in FRAME_HEADERS:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", frame, at + 4)
            return CodedSize(rows, columns, samples, bits)
        else:
            at += 2 + int(struct.unpack_from(">H", frame, at + 2)[0])
    return None


def _jpeg_2000(frame: bytes, at: int) -> CodedSize | None:
    if frame[at : at + 4] != JP2K_START:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", frame, at + 8)
    samples, depth = struct.unpack_from(">HB", frame, at + 40)
    return CodedSize(bottom - top, right - left, samples, (depth & 0x7F) + 1, signed=depth >= 0x80)


def _box(frame: bytes) -> int:
    """Where the codestream begins in a JP2 file (T.800, I.4), which some devices put in place of one."""
    at = 0
    while True:
        length, kind = struct.unpack_from(">I4s", frame, at)
        head = 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", frame, at + 8), 16
        if kind == b"jp2c":
            return at + head
        if length < head:
            raise IndexError
        at += length


def webp_size(start: bytes) -> CodedSize | None:
    """Size of a WebP file by its first 30 bytes; None where they do not state it."""
    kind, chunk = start[12:16], start[20:30]
    if len(chunk) < 10:
        return None
    if kind == b"VP8X":
        return CodedSize(int.from_bytes(chunk[7:10], "little") + 1, int.from_bytes(chunk[4:7], "little") + 1, 3, 8)
    if kind == b"VP8L" and chunk[0] == 0x2F:
        bits = int.from_bytes(chunk[1:5], "little")
        return CodedSize((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1, 3, 8)
    if kind == b"VP8 " and chunk[3:6] == b"\x9d\x01\x2a":
        columns, rows = struct.unpack_from("<HH", chunk, 6)
        return CodedSize(rows & 0x3FFF, columns & 0x3FFF, 3, 8)
    return None
