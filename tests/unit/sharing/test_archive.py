"""The archive of a bundle, against the standard library's zip and a writer of hostile ones."""

from __future__ import annotations

import errno
import io
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.errors import ArtifactError
from medistill.sharing import archive
from medistill.sharing.archive import NAME, read_archive, write_archive

FILES = {"manifest.json": b"{}", "README.md": b"# Set\n", "previews/0000.png": b"\x89PNG" * 9, "labels.csv": b""}


def by_the_standard_library(files: dict[str, bytes]) -> bytes:
    """What Python's own zipfile writes with the settings that the format names."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as zipped:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            zipped.writestr(entry, files[name])
    return held.getvalue()


names = st.sampled_from(
    ["README.md", "audit.json", "images.safetensors", "report.html", "dicom/0001.dcm", "previews/00010.png"]
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(names, st.binary(max_size=200)))
def test_the_bytes_are_those_of_the_standard_library(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    path = tmp_path_factory.mktemp("archive") / "bundle.zip"
    write_archive(path, files)
    assert path.read_bytes() == by_the_standard_library(files)
    assert read_archive(path) == files
    assert list(read_archive(path)) == sorted(files)


def test_the_order_in_which_files_are_given_changes_nothing(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", FILES)
    write_archive(tmp_path / "b.zip", dict(reversed(FILES.items())))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_whatever_bytes_change_it_opens_equal_or_refuses(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = bytearray(by_the_standard_library(FILES))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(whole) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert", "double"])):
            case "set":
                whole[place] = data.draw(st.integers(0, 255))
            case "cut":
                del whole[place : place + data.draw(st.integers(1, 40))]
            case "insert":
                whole[place:place] = data.draw(st.binary(min_size=1, max_size=30))
            case "double":
                whole[place:place] = whole[place : place + 60]
        if not whole:
            break
    path = tmp_path_factory.mktemp("archive") / "bundle.zip"
    path.write_bytes(whole)
    try:
        found = read_archive(path)
    except ArtifactError:
        return
    assert bytes(whole) == by_the_standard_library(found)  # only an archive that is itself canonical gets through


@pytest.mark.parametrize(
    "name",
    [
        "../README.md",
        "/README.md",
        "previews\\0000.png",
        "notes.txt",
        "previews/0.png",
        "dicom/",
        "README.md\0",
        "ä.md",
    ],
)
def test_a_name_that_could_not_be_read_is_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="file 1 of 1"):
        write_archive(tmp_path / "bundle.zip", {name: b""})
    assert not list(tmp_path.iterdir())


def test_names_are_those_of_the_format() -> None:
    assert NAME.fullmatch(b"previews/0000.png")
    assert not NAME.fullmatch("previews/０000.png".encode())  # a digit to a careless pattern
    assert not NAME.fullmatch(b"README.md\n")


def test_a_refusal_does_not_quote_a_strange_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as zipped:
        zipped.writestr("doe_john.dcm", b"")
    with pytest.raises(ArtifactError) as refused:
        read_archive(tmp_path / "b.zip")
    assert "doe_john" not in str(refused.value)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: os.mkfifo(path), lambda path: None])
def test_what_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "bundle.zip")
    with pytest.raises(ArtifactError, match="is no file"):
        read_archive(tmp_path / "bundle.zip")


def test_a_file_too_long_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "bundle.zip").open("wb") as file:
        file.truncate(archive.MOST_BYTES + 1)  # sparse
    with pytest.raises(ArtifactError, match="no bundle is longer"):
        read_archive(tmp_path / "bundle.zip")


def test_a_manifest_too_long_to_parse_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_archive(tmp_path / "bundle.zip", {"manifest.json": b" " * 100})
    monkeypatch.setattr(archive, "MOST_JSON_BYTES", 99)
    with pytest.raises(ArtifactError, match="declares 100 bytes, at most 99"):
        read_archive(tmp_path / "bundle.zip")


@pytest.mark.parametrize(("limit", "most"), [("MOST_BYTES", 100), ("MOST_ENTRIES", 3)])
def test_what_could_not_be_read_for_its_size_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(archive, limit, most)
    with pytest.raises(ArtifactError, match="share a smaller set"):
        write_archive(tmp_path / "bundle.zip", FILES)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"the one before")
    true_open = Path.open

    class Full(io.FileIO):
        def write(self, held: bytes) -> int:  # type: ignore[override]
            if self.tell() > 80:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(held)

    monkeypatch.setattr(Path, "open", lambda self, mode="r": Full(self, "w") if mode == "wb" else true_open(self, mode))
    with pytest.raises(ArtifactError, match="disk is full"):
        write_archive(path, FILES)
    assert path.read_bytes() == b"the one before"
    assert os.listdir(tmp_path) == ["bundle.zip"]
