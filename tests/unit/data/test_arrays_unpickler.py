"""The unpickler: it reads what NumPy writes, and nothing that a pickle names gets called."""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medistill.data.benchmarks.arrays_unpickler import RefusedPickleError, load_arrays

ARRAYS = [
    np.arange(12, dtype=np.uint8).reshape(3, 4),
    np.asfortranarray(np.arange(12, dtype=np.int32).reshape(3, 4)),
    np.linspace(0, 1, 5, dtype=np.float64),
    np.array([1, 256], dtype=">u2"),
    np.full((1, 1, 3), -1, np.int8),
    np.array([True, False]),
]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_an_array_comes_back_as_numpy_wrote_it(array: np.ndarray, protocol: int) -> None:
    """As `pickle` reads it, which is the second way to the same values."""
    content = pickle.dumps({"data": array, "n": 7, "names": ["a", b"b"]}, protocol)
    loaded = load_arrays(content)
    np.testing.assert_array_equal(loaded["data"], pickle.loads(content)["data"])
    assert loaded["data"].dtype == array.dtype
    assert (loaded["n"], loaded["names"][1]) == (7, b"b")


def test_a_scalar_comes_back() -> None:
    assert load_arrays(pickle.dumps({"mean": np.float32(0.5)}, 2))["mean"] == np.float32(0.5)


def test_a_pickle_of_python_2_with_the_old_names_is_read() -> None:
    """Byte for byte the form of the official files: texts are bytes, and names are those of NumPy 1."""
    content = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b"
        b"\x87Rq\x05(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x06\x01\x02\x03\x04\x05\xfftbU\x06labelsq\x08]q\x09(K\x03K\x09eu."
    )
    loaded = load_arrays(content)
    np.testing.assert_array_equal(loaded["data"], np.array([[1, 2, 3], [4, 5, 255]], np.uint8))
    assert loaded["labels"] == [3, 9]


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {}",), r"(posix|nt)\.system"),
        (builtins.eval, ("__import__('pathlib').Path({!r}).touch()",), r"(builtins|__builtin__)\.eval"),
        (builtins.exec, ("open({!r}, 'w')",), r"(builtins|__builtin__)\.exec"),
        (builtins.open, ("{}", "w"), r"_?io\.open"),
        (subprocess.Popen, (["touch", "{}"],), r"(subprocess|commands)\.Popen"),
        (np.load, ("{}",), r"numpy(\.lib[a-z._]*)?\.load"),
        (np.fromfile, ("{}",), r"numpy(\.[a-z_.]+)?\.fromfile"),
        (np.memmap, ("{}",), r"numpy(\.[a-z_.]+)?\.memmap"),
    ],
)
def test_a_call_is_refused_by_its_name_and_does_not_happen(
    function: Any, arguments: tuple[Any, ...], name: str, protocol: int, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    filled = tuple(a.format(str(trace)) if isinstance(a, str) else a for a in arguments)
    content = pickle.dumps({"data": Calls(function, *filled)}, protocol)
    with pytest.raises(RefusedPickleError, match=rf"wants to call {name}"):
        load_arrays(content)
    assert not trace.exists()


def opcodes(*globals_and_rest: bytes) -> bytes:
    return b"\x80\x02}U\x04data" + b"".join(globals_and_rest) + b"s."


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"c__builtin__\ngetattr\n(cos\npath\nU\x06systemtR", r"__builtin__\.getattr"),
        (b"cnumpy.f2py\nrun_main\n(U\x01atR", r"numpy\.f2py\.run_main"),
        (b"cnumpy\nload\n(U\x01atR", r"numpy\.load"),
        (b"cnumpy.core.multiarray\nfromfile\n(U\x01atR", r"numpy\.core\.multiarray\.fromfile"),
        (b"cnumpy\nndarray.tofile\n(U\x01atR", r"numpy\.ndarray\.tofile"),
        (b"(S'id'\nios\nsystem\n", r"os\.system"),
        (b"cnumpy\ndtype\n(U\x01OtR", "'O', not of numbers"),
        (b"cnumpy\ndtype\n(](U\x01aU\x02u1etR", "a list where a text belongs"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR", "another encoding"),
        (b"cnumpy\nndarray\n(K\x01tR", "damaged"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(U\x01aK\x00U\x01btR", "another kind"),
        (b"Pname\n", "outside the file"),
        (b"U\x02abr\xff\xff\xff\x7f", "places of memory"),
        (b"cnumpy.core.multiarray\n_reconstruct\n}U\x08__call__K\x01sb", "damaged"),
        (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R", "damaged"),
        (b"c_codecs\nencode\n(N}U\x04leftJ\xff\xff\xff\x7fstb", "alter a function"),
        (b"c\x1b[2J\nsystem\n", r"call \\x1b\[2J\.system"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_what_numpys_own_functions_or_odd_opcodes_are_used_for_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(RefusedPickleError, match=why):
        load_arrays(opcodes(body))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x80\x02})" + b"\x85" * 500_000 + b"K\x01s.", "tuples"),
        (b"\x80\x04" + b"\x8f" * 2_000_000 + b"}.", "instructions"),
        (b"\x80\x02}r\x00\x00\x0f\x00" + b"N0" * 500_000 + b".", "places of memory"),
        (
            b"\x80\x02c_codecs\nencode\nq\x01X\x40\x42\x0f\x00" + b"a" * 10**6 + b"q\x02U\x06latin1q\x03"
            b"" + b"h\x01h\x02h\x03\x86R" * 1000 + b"}.",
            "more bytes than it holds",
        ),
    ],
    ids=["a key so deep that its hash overflows the stack", "sets", "places", "one text encoded many times"],
)
def test_what_would_take_much_more_memory_than_the_file_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(RefusedPickleError, match=why):
        load_arrays(content)


def test_a_refused_pickle_leaves_the_unpickler_as_it_was() -> None:
    """The tuple (None, {...}) sets attributes: of a stand-in that could be altered, later files would be its prey."""
    with pytest.raises(RefusedPickleError):
        load_arrays(opcodes(b"cnumpy\ndtype\n(N}U\x08__call__K\x01stb"))
    assert load_arrays(pickle.dumps({"data": np.arange(3)}, 2))["data"].tolist() == [0, 1, 2]


def test_an_array_of_another_size_than_its_bytes_is_refused() -> None:
    whole = pickle.dumps({"data": np.zeros((3, 5), np.uint8)}, 2)
    assert whole.count(b"K\x03K\x05\x86") == 1
    with pytest.raises(RefusedPickleError, match=r"shape \(3, 99\) made of 15 bytes"):
        load_arrays(whole.replace(b"K\x03K\x05\x86", b"K\x03K\x63\x86"))


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"no pickle at all", pickle.dumps([1, 2]), b"\x80\x02}q\x01(U"])
def test_what_is_no_dict_or_cut_off_is_said(content: bytes) -> None:
    with pytest.raises(RefusedPickleError, match=r"damaged|not a dict"):
        load_arrays(content)


def test_no_cut_or_altered_byte_of_a_real_pickle_does_more_than_refuse() -> None:
    """Every truncation, and 2,000 random alterations: an array of the right kind or a refusal, never another error."""
    content = pickle.dumps({"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2]}, 2)
    numbers = np.random.default_rng(0)
    damaged = [content[:n] for n in range(len(content))]
    for _ in range(2000):
        altered = bytearray(content)
        altered[numbers.integers(len(content))] = numbers.integers(256)
        damaged.append(bytes(altered))
    refused = 0
    for one in damaged:
        try:
            assert isinstance(load_arrays(one), dict)
        except RefusedPickleError:
            refused += 1
    assert refused > len(content)
