"""Look-up table: what a DICOM file says that stored values become (PS3.3, C.11.1.1 and C.11.2.1.1; C.7.6.3.1.5 and 6).

Files differ in how they write one: entries of 8 bits lie one or two to a word, 65536 of them are called 0, and the
first value that is mapped may be signed where its element is not. All of these are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.multival import MultiValue

WORD = 2**16


class BadTableError(ValueError):
    """A table that cannot be applied; its words tell of its form alone."""


@dataclass(frozen=True)
class LookUpTable:
    """A table of a file.

    Attributes:
        entries: int32 (n,).
        first: the input that the first entry is for; as an unsigned word.
        bits: of each entry, as the file says it: 1 to 16.
    """

    entries: np.ndarray
    first: int
    bits: int

    def applied(self, values: np.ndarray, highest: float) -> np.ndarray:
        """Int32 of the shape of ``values``; what lies outside the table gets its first or its last entry.

        Args:
            highest: the largest input that there can be: a first value above it is a negative one.
        """
        first = self.first if self.first <= highest else self.first - WORD
        place = np.rint(values).astype(np.int64) - first
        return self.entries[np.clip(place, 0, len(self.entries) - 1)]


def table_of(
    item: Dataset, *, big_endian: bool, descriptor: str = "LUTDescriptor", data: str = "LUTData"
) -> LookUpTable:
    """The table of an item of a LUT sequence, or of a data set with palettes.

    Args:
        item: holds ``descriptor`` and ``data``.
        big_endian: byte order of the file.
        descriptor: keyword.
        data: likewise.

    Raises:
        BadTableError: it lacks something, or has fewer entries than it says.
    """
    said = item.get(descriptor)
    if not isinstance(said, MultiValue | Sequence) or len(said) != 3:
        raise BadTableError(f"it has no {descriptor} of three numbers")
    try:
        count, first, bits = (int(number) for number in said)
    except (TypeError, ValueError):
        raise BadTableError(f"its {descriptor} holds something else than numbers") from None
    count, first = count % WORD or WORD, first % WORD
    if not 1 <= bits <= 16:
        raise BadTableError(f"it has entries of {bits} bits, where 8 to 16 were expected")
    packed = _bytes(item, data, big_endian=big_endian)
    if len(packed) >= 2 * count:
        entries = np.frombuffer(packed, "<u2", count)
    elif len(packed) >= count and (bits <= 8 or len(packed) <= count + 1):
        entries = np.frombuffer(packed, "u1", count)
        bits = min(bits, 8)
    else:
        raise BadTableError(f"it has {len(packed) // 2} entries, where {count} were expected")
    return LookUpTable(entries.astype(np.int32), first, bits)


def _bytes(item: Dataset, data: str, *, big_endian: bool) -> bytes:
    """Entries as little-endian words, whatever the element's VR made of them."""
    if item.get(data) in (None, "", b""):
        raise BadTableError(f"it has no {data}")
    element = item[data]
    value: Any = element.value
    if isinstance(value, bytes | bytearray):
        swapped = big_endian and element.VR != "OB" and len(value) % 2 == 0
        return np.frombuffer(value, ">u2").astype("<u2").tobytes() if swapped else bytes(value)
    numbers = list(value) if isinstance(value, MultiValue | Sequence) and not isinstance(value, str) else [value]
    try:
        return (np.array([int(number) for number in numbers]) % WORD).astype("<u2").tobytes()
    except (TypeError, ValueError):
        raise BadTableError(f"its {data} holds something else than numbers") from None
