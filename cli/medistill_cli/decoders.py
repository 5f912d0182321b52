"""Decoders: which compressed DICOM pixels can be read here, and by which package."""

from __future__ import annotations

from dataclasses import dataclass

JPEG_2000 = "pip install pylibjpeg pylibjpeg-openjpeg"
RESEND = (
    "Have the archive send these files uncompressed or as JPEG 2000; no decoder with a permissive licence reads them"
)
KINDS = (
    ("JPEG baseline, 8 bits", "1.2.840.10008.1.2.4.50", "pip install pillow"),
    ("JPEG extended, 8 bits", "1.2.840.10008.1.2.4.51", "pip install pillow"),
    ("JPEG extended, 12 bits", "1.2.840.10008.1.2.4.51", RESEND),
    ("JPEG lossless", "1.2.840.10008.1.2.4.57", "pip install python-gdcm"),
    ("JPEG lossless, first order", "1.2.840.10008.1.2.4.70", "pip install python-gdcm"),
    ("JPEG-LS lossless", "1.2.840.10008.1.2.4.80", "pip install pyjpegls"),
    ("JPEG-LS near-lossless", "1.2.840.10008.1.2.4.81", "pip install pyjpegls"),
    ("JPEG 2000 lossless", "1.2.840.10008.1.2.4.90", JPEG_2000),
    ("JPEG 2000", "1.2.840.10008.1.2.4.91", JPEG_2000),
    ("HTJ2K lossless", "1.2.840.10008.1.2.4.201", JPEG_2000),
    ("HTJ2K lossless, RPCL", "1.2.840.10008.1.2.4.202", JPEG_2000),
    ("HTJ2K", "1.2.840.10008.1.2.4.203", JPEG_2000),
    ("RLE lossless", "1.2.840.10008.1.2.5", "pip install pydicom"),
)
"""Kinds of compressed images: name, transfer syntax UID, how to get a decoder."""
EIGHT_BITS_ONLY = ("gdcm", "pillow")
"""Decoders that pydicom lists for extended JPEG, and that fail on its 12-bit form."""


@dataclass(frozen=True)
class Decoder:
    """One kind: its name and transfer syntax UID, the packages that decode it here, and how to get one."""

    name: str
    uid: str
    by: tuple[str, ...]
    get: str


def decoders() -> list[Decoder]:
    """Ask pydicom, kind by kind, which of its decoders can work with what is installed."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    found = []
    for name, uid, get in KINDS:
        by = tuple(get_decoder(UID(uid)).available_plugins)
        if name == "JPEG extended, 12 bits":
            by = tuple(plugin for plugin in by if plugin not in EIGHT_BITS_ONLY)
        found.append(Decoder(name, uid, by, get))
    return found
