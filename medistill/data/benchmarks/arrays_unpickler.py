"""An unpickler that admits arrays of numbers, texts, whole numbers, lists and dicts, and nothing else.

CIFAR's python version is a pickle, and a pickle can name any function and have it called. Here every name is refused
but those that an array's pickle needs, and even these lead to stand-ins of ours, not to NumPy: what a hostile file
could still call checks its arguments and builds an array from bytes that lie in the file.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np

CODES = 2**20
"""Most instructions of a pickle. Each may make an object; 50,000 labels and names take half of them at most."""
TUPLES = 2**16
"""Most tuples of a pickle. Each may hold the last one, and a depth of twice as many overflows Python's own stack."""
NUMBERS = ("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
"""Types of numbers that an array may have; objects and records are not among them."""
_ENCODINGS = ("latin1", "latin-1", "iso-8859-1")
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")


class RefusedPickleError(ValueError):
    """The pickle asks for something else than arrays, or is damaged. Says what it asked for."""


def load_arrays(content: bytes) -> dict[str, Any]:
    """Read a pickled dict, of Python 2 or 3, whose values are arrays, texts, numbers or lists of them.

    Texts of Python 2 stay bytes, but for the keys.

    Raises:
        RefusedPickleError: it names a function or class that no array needs, is no dict, or is damaged.
    """
    try:
        _check_codes(content)
        loaded = _ArraysUnpickler(content).load()
        if not isinstance(loaded, dict):
            raise RefusedPickleError(f"it holds a {type(loaded).__name__}, not a dict")
        return {_text(key): value.array() if isinstance(value, _Array) else value for key, value in loaded.items()}
    except RefusedPickleError:
        raise
    except Exception as error:  # noqa: BLE001  # a hostile pickle raises what it likes
        raise RefusedPickleError(f"it is damaged ({error})") from None


def _check_codes(content: bytes) -> None:
    """Refuse what would take much more memory than the file: places up to a number, objects, tuples in tuples."""
    tuples = 0
    for count, (code, argument, _) in enumerate(pickletools.genops(content), start=1):
        tuples += code.name.startswith("TUPLE")
        if count > CODES or tuples > TUPLES:
            raise RefusedPickleError(f"it makes more than {TUPLES} tuples, or takes more than {CODES} instructions")
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) and argument > count:
            raise RefusedPickleError(f"it asks for {argument} places of memory")


class _ArraysUnpickler(pickle.Unpickler):
    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self.stand_ins = {**_STAND_INS, ("_codecs", "encode"): _Encode(len(content))}

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name that arrays need.

        Raises:
            RefusedPickleError: any other name.
        """
        try:
            return self.stand_ins[module, name]
        except KeyError:
            raise RefusedPickleError(f"it wants to call {ascii(f'{module}.{name}'[:80])[1:-1]}") from None

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to objects outside the file.

        Raises:
            RefusedPickleError: always.
        """
        raise RefusedPickleError("it refers to something outside the file")


class _Dtype:
    """A type of numbers."""

    __slots__ = ("order", "text")

    def __init__(self, text: str) -> None:
        self.text, self.order = text, "|"

    def __setstate__(self, state: Any) -> None:
        """Take the byte order; the rest describes records, which are refused by their names."""
        self.order = _text(state[1])
        if self.order not in "|<>=" or len(self.order) != 1:
            raise RefusedPickleError("it holds an array of an unknown byte order")

    def dtype(self) -> np.dtype:
        return np.dtype(self.order + self.text)


class _Array:
    """An array that is filled by ``__setstate__``, as the pickle of an array does."""

    __slots__ = ("values",)

    def __setstate__(self, state: Any) -> None:
        """Take shape, type, order and bytes, where they fit together."""
        _, shape, dtype, fortran, content = state
        self.values = _filled(dtype, shape, content, "F" if fortran else "C")

    def array(self) -> np.ndarray:
        return self.values


class _Reconstruct:
    """Stands in for ``numpy.core.multiarray._reconstruct``. Without attributes, so that a file cannot alter it."""

    __slots__ = ()

    def __call__(self, kind: Any, shape: Any, code: Any) -> _Array:
        if not isinstance(kind, _Ndarray):
            raise RefusedPickleError("it holds an array of another kind than numpy.ndarray")
        return _Array()


class _Ndarray:
    """Stands in for the class ``numpy.ndarray``, which is named and never called."""

    __slots__ = ()


class _MakeDtype:
    """Stands in for ``numpy.dtype``."""

    __slots__ = ()

    def __call__(self, text: Any, *flags: Any) -> _Dtype:
        name = _text(text).lstrip("|<>=")
        if name not in NUMBERS:
            raise RefusedPickleError(f"it holds an array of {name[:20]!r}, not of numbers")
        return _Dtype(name)


class _Scalar:
    """Stands in for ``numpy.core.multiarray.scalar``."""

    __slots__ = ()

    def __call__(self, dtype: Any, content: Any) -> Any:
        return _filled(dtype, (), content, "C")[()]


class _Encode:
    """Stands in for ``_codecs.encode``, by which Python 3 writes bytes for Python 2; all of them fit into the file."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def __setstate__(self, state: Any) -> None:
        """Refuse to be altered."""
        raise RefusedPickleError("it wants to alter a function")

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if _text(encoding) not in _ENCODINGS or not isinstance(text, str):
            raise RefusedPickleError("it wants to call _codecs.encode with another encoding than latin1")
        self.left -= len(text)
        if self.left < 0:
            raise RefusedPickleError("it makes more bytes than it holds")
        return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Any] = {
    **{(module, "_reconstruct"): _Reconstruct() for module in _MULTIARRAY},
    **{(module, "scalar"): _Scalar() for module in _MULTIARRAY},
    ("numpy", "ndarray"): _Ndarray(),
    ("numpy", "dtype"): _MakeDtype(),
}


def _filled(dtype: Any, shape: Any, content: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
        raise RefusedPickleError("it holds an array that is not made of bytes")
    kind = dtype.dtype()
    if not all(isinstance(side, int) and side >= 0 for side in shape) or math.prod(shape) * kind.itemsize != len(
        content
    ):
        raise RefusedPickleError(f"it holds an array of shape {shape!s:.40} made of {len(content)} bytes")
    return np.frombuffer(content, kind).reshape(shape, order=order)


def _text(value: Any) -> str:
    if not isinstance(value, str | bytes):
        raise RefusedPickleError(f"it holds a {type(value).__name__} where a text belongs")
    return value if isinstance(value, str) else value.decode("latin1")
