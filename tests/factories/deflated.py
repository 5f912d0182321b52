"""A deflated DICOM file that unpacks to as much as a test wants."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian


def deflated_from(path: Path, padding: int) -> bytes:
    """The file at ``path`` deflated, with so many MiB of padding at its end."""
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    begin = 144 + struct.unpack_from("<I", content, 140)[0]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflater.compress(zlib.decompress(content[begin:], -zlib.MAX_WBITS))
    packed += deflater.compress(struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, padding * 2**20))
    for _ in range(padding):
        packed += deflater.compress(bytes(2**20))
    return content[:begin] + packed + deflater.flush()
