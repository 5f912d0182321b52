"""DICOM file: its data set, unpacked no further than its own header says that it needs.

Deflated Explicit VR Little Endian (PS3.5, A.5) packs the whole data set; a megabyte may unpack to a gigabyte.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import BinaryIO

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset, read_partial
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from medistill.data.image import check_size
from medistill.data.refusal import RejectedFile

BESIDE_PIXELS = 2**24
"""Bytes that a deflated data set may have beside its pixels: overlays, tables, private elements."""
PIXELS = 0x7FE00010
"""Tag of the pixels; what comes after them is signatures and padding, at times of bytes that are no elements."""
DEFLATED_ELSEWHERE = ("1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
"""JPIP Referenced Deflate, for JPEG 2000 and HTJ2K: the data set is packed, and names a server that has the pixels."""
SIZES = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "NumberOfFrames")


def read_data_set(file: BinaryIO, *, force: bool = False, only: Sequence[str] | None = None) -> Dataset:
    """Read a DICOM file.

    Args:
        file: opened where it begins.
        force: take it for DICOM where its preamble does not say so.
        only: keywords of the elements to read, none of which come with or after the pixels; None reads all.

    Raises:
        RejectedFile: it would unpack to more than its pixels and a header need, ends too early, or has its pixels
            elsewhere.
        Exception: whatever pydicom makes of a damaged file; its words may quote the header.
    """
    meta = _file_meta(file)
    if meta.get("TransferSyntaxUID") in DEFLATED_ELSEWHERE:
        raise RejectedFile("unsupported coding", f"its pixels lie on a server ({UID(meta.TransferSyntaxUID).name})")
    packed = file.read() if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian else None
    if packed is None:
        file.seek(0)
        return _read(file, only, force=force)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian  # which it is, once unpacked
    unpacked = DicomBytesIO(bytes(128) + b"DICM")
    unpacked.seek(0, io.SEEK_END)
    write_file_meta_info(unpacked, meta, enforce_standard=False)
    for piece in _inflated(packed, whole=only is None):
        unpacked.write(piece)
    unpacked.seek(0)
    return _read(unpacked, only, force=force)


def frames_of(header: Dataset) -> int:
    """How many frames a file says that it holds.

    Raises:
        RejectedFile: what it says is no number, or more than one.
    """
    try:
        frames = int(header.get("NumberOfFrames") or 1)
    except (ValueError, TypeError):
        raise RejectedFile("unreadable", "its NumberOfFrames is not a number") from None
    if frames > 1:
        raise RejectedFile("several frames", f"it holds {frames} frames; a radiograph has one")
    return frames


def _read(file: BinaryIO, only: Sequence[str] | None, *, force: bool) -> Dataset:
    if only is None:
        return read_partial(file, stop_when=lambda tag, vr, length: tag > PIXELS, force=force)
    return dcmread(file, force=force, stop_before_pixels=True, specific_tags=list(only))


def _file_meta(file: BinaryIO) -> FileMetaDataset:
    """The file meta information; the file stands where the data set begins."""
    start = file.read(132)
    at = 132 if start[128:] == b"DICM" else 0
    file.seek(at)
    if file.read(2) != b"\x02\x00":
        return FileMetaDataset()
    file.seek(at)
    return FileMetaDataset(read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2))


def _inflated(packed: bytes, *, whole: bool) -> list[bytes]:
    """What was deflated: all of it, or the beginning, in which everything but the pixels has room."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    start = inflater.decompress(packed, BESIDE_PIXELS)
    if not whole or inflater.eof:
        return [start]
    room = _pixel_bytes(start)
    rest = inflater.decompress(inflater.unconsumed_tail, room + 1)
    if len(rest) > room:
        most = (BESIDE_PIXELS + room) // 2**20
        raise RejectedFile("too large", f"it unpacks to more than the {most} MiB that its pixels and a header can need")
    if not inflater.eof:
        raise RejectedFile("unreadable", "its deflated data set ends too early")
    return [start, rest]


def _pixel_bytes(start: bytes) -> int:
    """Bytes of the pixels by what the beginning of a data set says of them."""
    size = read_dataset(
        io.BytesIO(start),
        False,
        True,
        stop_when=lambda tag, vr, length: tag >= 0x7FE00000,
        specific_tags=[Tag(name) for name in SIZES],
    )
    try:
        rows, columns, samples, bits = (int(size.get(name, 1)) for name in SIZES[:4])
    except (ValueError, TypeError):
        raise RejectedFile("unreadable", "the size of its pixels is not a number") from None
    check_size(rows, columns)
    frames_of(size)
    return max(rows * columns * min(samples, 3) * min(bits, 64) // 8, 0)
