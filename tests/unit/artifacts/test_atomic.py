"""Files are there whole or not at all: interruptions, full disks, modes, and what is read back."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medistill.artifacts.atomic import (
    private_folder,
    read_json,
    read_tensors,
    sha256_file,
    unwritable,
    write_atomically,
    write_json,
    write_tensors,
    write_text,
)
from medistill.artifacts.new_folder import new_folder
from medistill.errors import ArtifactError

DTYPES = (np.float32, np.float64, np.float16, np.int64, np.int32, np.uint8, np.bool_)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text("abc._0", min_size=1, max_size=6),
        st.sampled_from(DTYPES).flatmap(
            lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=4, max_side=4))
        ),
        min_size=1,
        max_size=4,
    ),
    st.dictionaries(st.text(max_size=5), st.text(max_size=10), max_size=3),
)
def test_tensors_come_back_to_the_bit(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        write_tensors(path, tensors, metadata)
        found, described = read_tensors(path, "test")
    assert described == metadata
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_tensors_that_are_not_contiguous_keep_their_order(tmp_path: Path) -> None:
    block = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    views = {"turned": block.T, "strided": block[:, ::2, ::-1], "fortran": np.asfortranarray(block)}
    write_tensors(tmp_path / "x.safetensors", views)
    found, _ = read_tensors(tmp_path / "x.safetensors", "test")
    for name, view in views.items():
        np.testing.assert_array_equal(found[name], view)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_json_comes_back_in_order(value: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.json"
        write_json(path, value)
        found = read_json(path, "test")
    assert found == value
    assert list(found) == list(value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_json_has_no_nan_and_the_old_file_stays(tmp_path: Path, number: float) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": number})
    assert read_json(tmp_path / "x.json", "test") == {"a": 1}
    assert _names(tmp_path) == ["x.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "cannot be read"),
        (b"", "cannot be read"),
        (b"\xff\xfe{}", "cannot be read"),
        (b"[1]", "no JSON object"),
        (b"null", "no JSON object"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_json_that_is_damaged_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=said) as caught:
        read_json(path, "some record")
    assert str(path) in str(caught.value)
    assert "some record" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"a": NaN}', "NaN"), ('{"a": 1e999}', "1e999"), ('{"a": "\\ud800"}', "surrogates")],
)
def test_json_that_could_not_be_written_again_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=said):
        read_json(path, "some record")
    path.write_text('{"a": "\\ud83d\\ude00", "b": 1e300}')
    assert read_json(path, "some record") == {"a": "\U0001f600", "b": 1e300}


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_json, read_tensors):
        with pytest.raises(ArtifactError, match=r"nothing\.here is missing"):
            read(tmp_path / "nothing.here", "test")
    (tmp_path / "folder").mkdir()
    for read in (read_json, read_tensors):
        with pytest.raises(ArtifactError):
            read(tmp_path / "folder", "test")


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 20, 100, -1])
def test_truncated_tensors_are_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"x": np.arange(100.0)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArtifactError, match="is damaged"):
        read_tensors(path, "test")


def test_a_type_that_numpy_does_not_know_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(ArtifactError, match="is damaged"):
        read_tensors(path, "test")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "open", "x")
        write_text(tmp_path / "private", "x", private=True)
        write_tensors(tmp_path / "tensors", {"x": np.zeros(2)}, private=True)
        write_tensors(tmp_path / "open tensors", {"x": np.zeros(2)})
        private_folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert _mode(tmp_path / "open") == 0o644 & ~umask
    assert _mode(tmp_path / "private") == 0o600
    assert _mode(tmp_path / "tensors") == 0o600
    assert _mode(tmp_path / "open tensors") == 0o644 & ~umask
    assert _mode(tmp_path / "a" / "b") == 0o700


def test_private_even_while_it_is_written_and_over_an_open_file(tmp_path: Path) -> None:
    seen = []
    (tmp_path / "x").write_text("old")
    (tmp_path / "x").chmod(0o644)

    def write(file: Path) -> None:
        seen.append(_mode(file))
        file.write_text("new")

    write_atomically(tmp_path / "x", write, private=True)
    assert seen == [0o600]
    assert _mode(tmp_path / "x") == 0o600


def test_an_open_folder_becomes_private(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir(mode=0o755)
    assert private_folder(tmp_path / "f") == tmp_path / "f"
    assert _mode(tmp_path / "f") == 0o700


def test_a_private_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match="could not be written"):
        private_folder(tmp_path / "file" / "folder")


def test_a_real_full_device_is_reported_and_the_old_file_is_kept(tmp_path: Path) -> None:
    if not Path("/dev/full").is_char_device():
        pytest.skip("this system has no /dev/full")
    write_text(tmp_path / "x", "old")

    def write(file: Path) -> None:
        with open("/dev/full", "wb") as full:
            full.write(b"x" * 10_000)

    with pytest.raises(ArtifactError, match=r"the disk is full.*MiB free.*--resume.*nothing that was finished is lost"):
        write_atomically(tmp_path / "x", write)
    assert (tmp_path / "x").read_text() == "old"
    assert _names(tmp_path) == ["x"]


@pytest.mark.parametrize(
    ("code", "said"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "quota"), (errno.EACCES, "permissions")]
)
def test_each_refusal_of_the_system_has_its_advice(tmp_path: Path, code: int, said: str) -> None:
    def write(file: Path) -> None:
        file.write_text("half")
        raise OSError(code, os.strerror(code))

    with pytest.raises(ArtifactError, match=f"(?i){said}"):
        write_atomically(tmp_path / "x", write)
    assert _names(tmp_path) == []


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from medistill.artifacts.atomic import write_tensors, write_text
from medistill.artifacts.corpus import _save_npy
from medistill.artifacts.atomic import write_atomically
from medistill.errors import ArtifactError
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
path = Path(sys.argv[1])
block = np.zeros((50, 1, 32, 32), np.uint8)
writers = [
    lambda: write_text(path, "x" * 50_000),
    lambda: write_tensors(path, {"x": block}),
    lambda: write_atomically(path, lambda file: _save_npy(file, block, np.arange(len(block)))),
]
for write in writers:
    try:
        write()
    except ArtifactError as error:
        print(str(error))
"""


def test_every_kind_of_file_that_finds_no_room_says_so_and_leaves_the_old_one(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "old")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "x")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(f"the file would be too large: {tmp_path / 'x'} could not be written" in line for line in lines), lines
    assert all("ulimit -f" in line for line in lines)
    assert (tmp_path / "x").read_text() == "old"
    assert _names(tmp_path) == ["x"]


KILLED = """
import os, signal, sys
from pathlib import Path
from medistill.artifacts.atomic import write_atomically

def write(file):
    with file.open("w") as handle:
        handle.write("half of the new te")
        handle.flush()
        os.kill(os.getpid(), signal.SIGKILL)

write_atomically(Path(sys.argv[1]), write, private=True)
"""


def test_a_kill_in_the_middle_leaves_the_old_file_whole_and_the_half_private(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "old text", private=True)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "x")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "x").read_text() == "old text"
    assert all(_mode(entry) == 0o600 for entry in tmp_path.iterdir())
    write_text(tmp_path / "x", "new text", private=True)
    assert (tmp_path / "x").read_text() == "new text"


def test_who_reads_the_old_file_goes_on_reading_it(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "old text")
    with (tmp_path / "x").open() as reader:
        write_text(tmp_path / "x", "new text")
        assert reader.read() == "old text"
    assert (tmp_path / "x").read_text() == "new text"


def test_other_errors_pass_and_leave_nothing(tmp_path: Path) -> None:
    def write(file: Path) -> None:
        file.write_text("half")
        raise KeyError("a mistake of the programmer")

    with pytest.raises(KeyError):
        write_atomically(tmp_path / "x", write)
    assert _names(tmp_path) == []


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "x") == expected


@pytest.mark.parametrize(
    ("number", "inodes", "said"),
    [
        (errno.ENOSPC, 5, "the disk is full (3 MiB free)"),
        (errno.ENOSPC, 0, "no inodes are free, though 3 MiB are"),
        (errno.EDQUOT, 0, "quota"),
        (errno.EFBIG, 0, "too large"),
        (errno.EROFS, 0, "read-only"),
        (errno.ENAMETOOLONG, 0, "name is too long"),
        (errno.EACCES, 0, "Permission denied"),
    ],
)
def test_what_cannot_be_written_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, inodes: int, said: str
) -> None:
    disk = SimpleNamespace(f_bavail=3 * 2**20 // 4096, f_frsize=4096, f_files=100, f_favail=inodes)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    path = tmp_path / "not" / "there" / "model.safetensors"
    error = unwritable(path, OSError(number, os.strerror(number)))
    assert said in error.seen
    assert str(path) in error.seen
    assert ("full" in error.seen) == (said.startswith("the disk is full"))


@pytest.fixture(params=["size=64k", "size=4m,nr_inodes=3"])
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk with room for 64 KiB, or for two files."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", disk], capture_output=True)
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_without_room_or_without_inodes_names_the_file(small_disk: Path) -> None:
    inodes = os.statvfs(small_disk).f_files < 10
    (small_disk / "first").write_bytes(bytes(100))
    for number, name in enumerate(("second.npy", "third.npy")):
        if not inodes or number:
            with pytest.raises(ArtifactError) as caught:
                write_atomically(small_disk / name, lambda file: file.write_bytes(bytes(100_000)), private=True)
            assert str(small_disk / name) in caught.value.seen
            assert ("no inodes are free" if inodes else "the disk is full") in caught.value.seen
        else:
            write_atomically(small_disk / name, lambda file: file.write_bytes(b"x"), private=True)
    with pytest.raises(ArtifactError) as caught, new_folder(small_disk / "model") as folder:
        write_tensors(folder / "weights.safetensors", {"x": np.zeros(100_000)})
    assert "part" not in caught.value.seen
    assert ("no inodes are free" if inodes else str(small_disk / "model" / "weights.safetensors")) in caught.value.seen
    assert sorted(path.name for path in small_disk.iterdir()) == (["first", "second.npy"] if inodes else ["first"])
