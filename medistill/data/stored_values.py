"""Stored values: the numbers that the pixels of a DICOM file hold, wherever in its words they lie (PS3.5, 8.1.1).

A word of BitsAllocated bits holds a value of BitsStored bits, whose highest one is HighBit; what lies above and below,
such as an overlay, is no part of it. PixelRepresentation says whether the value is signed. A codestream has
words of its own precision.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGExtended12Bit, JPEGLSTransferSyntaxes, RLELossless

from medistill.data.codestream import CodedSize, coded_size
from medistill.data.refusal import RejectedFile
from medistill.data.remark import CONTRADICTED, Remark
from medistill.data.transfer_syntax import DEFLATED_FRAME, FRAMED, decoder_of, is_framed, syntax_name

RLE_HEADER = 64 + 15
"""Bytes of an RLE frame beside its coded bytes: its header, and one to make each of 15 segments even (PS3.5, G.4)."""
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
WHOLE = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
OVERLAYS = range(0x6000, 0x6020, 2)
"""Groups of overlays; one with a bit position (60xx,0102) and no data (60xx,3000) lies in the words of the pixels."""


@dataclass(frozen=True)
class Place:
    """Where a value lies in a word.

    Attributes:
        allocated: bits of a word.
        stored: bits of the value.
        shift: bits of the word below it.
        signed: whether it is a two's complement.
    """

    allocated: int
    stored: int
    shift: int
    signed: bool

    @property
    def lowest(self) -> int:
        """The lowest value that there can be."""
        return -(1 << (self.stored - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """The highest value that there can be."""
        return (1 << (self.stored - self.signed)) - 1

    def values(self, words: np.ndarray) -> np.ndarray:
        """Values of unsigned words, of the same shape; int32, or int64 where the value has more than 31 bits."""
        kind, top = (np.int32, 32) if self.stored < 32 else (np.int64, 64)
        cut = ((words >> words.dtype.type(self.shift)) & words.dtype.type((1 << self.stored) - 1)).astype(kind)
        return cut << (top - self.stored) >> (top - self.stored) if self.signed else cut

    def value_of(self, number: int) -> int | None:
        """A number of the header as a value, whatever sign its element gave it; None where it can be no value."""
        words = [number % (1 << bits) for bits in (16, self.allocated)]
        read = [number, *words, *(word - (1 << bits) for word, bits in zip(words, (16, self.allocated), strict=True))]
        if self.signed and number >= 0:
            read.append(number - (1 << self.stored))
        return next((one for one in read if self.lowest <= one <= self.highest), None)


@dataclass(frozen=True)
class Stored:
    """What the pixels of a file hold.

    Attributes:
        values: int32 or int64 (H, W), or (H, W, 3).
        place: where they lay, which says what they can be.
        photometric: what they mean, once they are decoded.
        remarks: what the header says and the pixels contradict.
    """

    values: np.ndarray
    place: Place
    photometric: str
    remarks: tuple[Remark, ...] = ()


def check_pixel_header(header: Dataset) -> None:
    """Refuse a header that does not say what is needed to find values, before any is looked for.

    Raises:
        RejectedFile: an element is missing, or says what none can.
    """
    missing = [name for name in (*WHOLE, "PhotometricInterpretation") if header.get(name) in (None, "")]
    if missing:
        raise RejectedFile("unreadable", f"its header lacks {', '.join(missing)}")
    for name in (*WHOLE, "HighBit", "PlanarConfiguration"):
        if not isinstance(header.get(name, 0), int | None):
            raise RejectedFile("unreadable", f"its {name} is not a whole number")
    allowed = {"SamplesPerPixel": (1, 3), "BitsAllocated": (1, 8, 16, 32, 64), "PixelRepresentation": (0, 1)}
    for name, numbers in allowed.items():
        if header[name].value not in numbers:
            expected = ", ".join(map(str, numbers))
            raise RejectedFile(
                "unreadable", f"its {name} is {header[name].value}, where one of {expected} was expected"
            )
    if not 1 <= header.BitsStored <= header.BitsAllocated:
        why = f"its BitsStored is {header.BitsStored}, where 1 to BitsAllocated ({header.BitsAllocated}) was expected"
        raise RejectedFile("unreadable", why)
    if header.PhotometricInterpretation not in (*GREY, *COLOURS):
        expected = ", ".join((*GREY, *COLOURS))
        raise RejectedFile("unreadable", f"its PhotometricInterpretation is none of those that are read: {expected}")


def stored_values(header: Dataset, syntax: UID) -> Stored:
    """The values of a file's pixels.

    Args:
        header: a data set that `check_pixel_header` took.
        syntax: from `decodable_syntax`.

    Raises:
        RejectedFile: pixels are missing, or cannot be decoded.
    """
    coded = None
    if is_framed(syntax):
        frame = _frame(header, syntax)
        if syntax not in FRAMED:
            coded = _check_coded(frame, header, syntax)
    else:
        frame = header.PixelData or b""
        _check_length(frame, header)
    options: dict[str, Any] = {"raw": True, "correct_unused_bits": False}
    source: Any = header
    if syntax in FRAMED:
        source = _inflated(frame, _native(header)) if syntax == DEFLATED_FRAME else frame
        _check_length(source, header)
        options |= _described(header)
    elif coded is not None:
        options |= _as_coded(coded, header, syntax)
    elif header.SamplesPerPixel == 3 and header.get("PlanarConfiguration") is None:
        raise RejectedFile("unreadable", "its header lacks PlanarConfiguration")
    try:
        words, told = get_decoder(decoder_of(syntax)).as_array(source, **options)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  # each decoder has its own kinds; their words may quote the header
        if syntax == JPEGExtended12Bit and (coded is None or coded.bits > 8):
            raise RejectedFile("unsupported coding", f"nothing installed decodes 12-bit {syntax.name}") from None
        why = f"no installed decoder could read its {syntax_name(syntax)} pixels ({type(error).__name__})"
        raise RejectedFile("cannot be decoded", why) from None
    if words.ndim not in (2, 3) or (words.ndim == 3 and words.shape[2] != 3):
        raise RejectedFile("cannot be decoded", f"its pixels have the shape {words.shape}")
    words = words.astype(words.dtype.newbyteorder("="), copy=False).view(f"u{words.dtype.itemsize}")
    place, remarks = _place(header, coded)
    place, more = _as_found(words, place, header)
    return Stored(place.values(words), place, str(told["photometric_interpretation"]), remarks + more)


def _place(header: Dataset, coded: CodedSize | None) -> tuple[Place, tuple[Remark, ...]]:
    """Where the header, and the codestream, say that values lie."""
    allocated, stored, signed = int(header.BitsAllocated), int(header.BitsStored), header.PixelRepresentation == 1
    if coded is not None and coded.bits > allocated:
        why = f"its BitsAllocated is {allocated}, its codestream has {coded.bits} bits, which were taken"
        return Place(coded.bits, coded.bits, 0, signed), (Remark(CONTRADICTED, why),)
    high = header.get("HighBit")
    high = stored - 1 if high is None else int(high)
    remarks: tuple[Remark, ...] = ()
    if not stored - 1 <= high < allocated:
        why = f"its HighBit is {high}, which {stored} bits in {allocated} cannot have; {stored - 1} was taken"
        high, remarks = stored - 1, (Remark(CONTRADICTED, why),)
    if coded is not None and coded.bits <= high:  # its words begin with the lowest bit that is used
        stored = min(stored, coded.bits)
        high = stored - 1
    if coded is not None and coded.signed and not signed and high + 1 == coded.bits:
        why = "its PixelRepresentation says that values have no sign, its codestream that they have one, as was taken"
        signed, remarks = True, (*remarks, Remark(CONTRADICTED, why))
    return Place(allocated, stored, high + 1 - stored, signed), remarks


def _as_found(words: np.ndarray, place: Place, header: Dataset) -> tuple[Place, tuple[Remark, ...]]:
    """The place of unsigned values in words that show that the header is wrong.

    That is so where LargestImagePixelValue is the largest word, and can be no value or uses bits that lie below the
    value; and where it is not stated, if words use these bits and none above those that a value needs. Where an overlay
    lies in the words, bits beside the value are its own.
    """
    stated = header.get("LargestImagePixelValue")
    largest = stated if isinstance(stated, int) else None
    beyond = largest is not None and largest > place.highest
    overlaid = any((group, 0x0102) in header and (group, 0x3000) not in header for group in OVERLAYS)
    if place.signed or overlaid or not (place.shift or beyond):
        return place, ()
    top = int(words.max())
    below = bool((words & words.dtype.type((1 << place.shift) - 1)).any())
    right = top <= place.highest if largest is None else top == largest
    if not right or (place.shift and not below):
        return place, ()
    stored = max(place.stored, top.bit_length())
    why = f"its BitsStored and HighBit say other bits than the {stored} lowest, in which its values lie"
    return replace(place, stored=stored, shift=0), (Remark(CONTRADICTED, why),)


def _described(header: Dataset) -> dict[str, Any]:
    """What a decoder has to be told of a frame that comes without its header."""
    return {
        "rows": int(header.Rows),
        "columns": int(header.Columns),
        "samples_per_pixel": int(header.SamplesPerPixel),
        "bits_allocated": int(header.BitsAllocated),
        "bits_stored": int(header.BitsStored),
        "pixel_representation": int(header.PixelRepresentation),
        "photometric_interpretation": str(header.PhotometricInterpretation),
        "planar_configuration": int(header.get("PlanarConfiguration") or 0),
        "pixel_keyword": "PixelData",
        "number_of_frames": 1,
    }


def _as_coded(coded: CodedSize, header: Dataset, syntax: UID) -> dict[str, Any]:
    """What a decoder has to be told where the codestream knows it and the header need not."""
    told: dict[str, Any] = {"planar_configuration": 0} if header.SamplesPerPixel == 3 else {}
    if syntax not in (*JPEG2000TransferSyntaxes, *JPEGLSTransferSyntaxes):  # whose decoders look for themselves
        told |= {"bits_allocated": next(n for n in (8, 16, 32, 64) if coded.bits <= n), "bits_stored": coded.bits}
    elif coded.bits > header.BitsAllocated:
        told |= {"bits_allocated": 16 if coded.bits <= 16 else 32}
    return told


def _bytes(header: Dataset) -> int:
    """Bytes of one frame, unpacked."""
    bits = int(header.Rows) * int(header.Columns) * int(header.SamplesPerPixel) * int(header.BitsAllocated)
    return (bits + 7) // 8


def _native(header: Dataset) -> int:
    """Bytes of one frame as it is stored natively, where two pixels of YBR_FULL_422 share their colour."""
    return _bytes(header) * 2 // 3 if header.PhotometricInterpretation == "YBR_FULL_422" else _bytes(header)


def _check_length(pixels: bytes, header: Dataset) -> None:
    expected = _native(header)
    if len(pixels) < expected:
        raise RejectedFile("truncated", f"it holds {len(pixels)} bytes of pixels, {expected} were expected")


def _frame(header: Dataset, syntax: UID) -> bytes:
    """The first frame, out of its fragments."""
    if not header.PixelData:
        raise RejectedFile("truncated", f"it holds 0 bytes of pixels, where {syntax_name(syntax)} ones were expected")
    try:
        table = "ExtendedOffsetTable" in header  # the decoders follow it where it is there
        offsets = (header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths) if table else None
        return bytes(get_frame(header.PixelData, 0, number_of_frames=1, extended_offsets=offsets))
    except Exception:  # noqa: BLE001  # fragments out of shape fail in many ways
        why = f"its {syntax_name(syntax)} pixels are not in fragments as they must be"
        raise RejectedFile("cannot be decoded", why) from None


def _inflated(frame: bytes, room: int) -> bytes:
    """A deflated frame (RFC 1951, or with the header of RFC 1950), unpacked to no more than its pixels need."""
    for form in (-zlib.MAX_WBITS, zlib.MAX_WBITS):
        try:
            unpacked = zlib.decompressobj(form).decompress(frame, room + 2)
        except zlib.error:
            continue
        if len(unpacked) > room + 1:
            raise RejectedFile("size mismatch", f"its deflated pixels unpack to more than the {room} bytes of its size")
        return unpacked
    raise RejectedFile("cannot be decoded", "its deflated pixels are damaged")


def _check_coded(frame: bytes, header: Dataset, syntax: UID) -> CodedSize | None:
    """What a codestream says of itself; None of RLE in as many bytes a sample as the header says.

    Raises RejectedFile where it says another size than the header, before a decoder takes memory for it.
    """
    if syntax == RLELossless:
        if len(frame) > 2 * _bytes(header) + RLE_HEADER:
            raise RejectedFile("size mismatch", "its RLE pixels are longer than any coding of the size in its header")
        return _rle_size(frame, header)
    said = (int(header.Rows), int(header.Columns), int(header.SamplesPerPixel))
    coded = coded_size(frame)
    if coded is None:
        raise RejectedFile("cannot be decoded", f"its {syntax.name} pixels do not say their size where they must")
    if coded[:3] != said:
        why = f"its header says {said[0]} x {said[1]} pixels of {said[2]} samples, its {syntax.name} codestream "
        raise RejectedFile("size mismatch", f"{why}{coded.rows} x {coded.columns} of {coded.samples}")
    return coded


def _rle_size(frame: bytes, header: Dataset) -> CodedSize | None:
    """An RLE frame's size, where its number of segments, one for each byte of a sample, is not that of the header."""
    samples = int(header.SamplesPerPixel)
    each, over = divmod(int.from_bytes(frame[:4], "little"), samples)
    if over or each not in (1, 2, 4, 8) or 8 * each == header.BitsAllocated:
        return None
    return CodedSize(int(header.Rows), int(header.Columns), samples, 8 * each)
