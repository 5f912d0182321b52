"""Tiny ImageNet (Stanford CS231n): 200 classes of 500 training images of 64 pixels; its val images are the test split.

The authors' own test images have no labels, so the field tests on val.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np

from medistill.artifacts.corpus import SPLITS
from medistill.data.benchmarks.catalogue import Benchmark
from medistill.data.benchmarks.images import BenchmarkImages, altered, check_class_names
from medistill.data.benchmarks.members import find
from medistill.errors import DataError
from medistill.progress import Progress

FOLDER = "tiny-imagenet-200"
ARCHIVE = f"{FOLDER}.zip"
SIDE = 64
PICTURE_LIMIT = 2**20
"""Most bytes of a JPEG of 64 x 64 pixels."""
LIST_LIMIT = 2**24
"""Most bytes of a list of classes or annotations."""
CHUNK = 500


class _Files(Protocol):
    """The files of the folder, wherever they lie."""

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a file. Raises DataError where it is missing, damaged, or larger than ``limit``."""

    def has(self, name: str) -> bool:
        """Whether a file of that name is there."""

    def where(self, name: str) -> str:
        """The file as messages name it."""


def find_tiny_imagenet(data: Path) -> Path | None:
    """The folder or archive in ``data``; None where there is none."""
    return find(data, FOLDER, ARCHIVE, "wnids.txt")


def read_tiny_imagenet(place: Path, benchmark: Benchmark, progress: Progress) -> BenchmarkImages:
    """Read every labelled image. Grey ones get three equal channels.

    Args:
        place: the zip, or the unpacked folder.
        benchmark: its entry in the catalogue.

    Raises:
        DataError: a file is missing, cut off or altered.
    """
    if place.is_dir():
        return _read(_Folder(place), benchmark, progress)
    try:
        archive = zipfile.ZipFile(place)
    except (ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise altered(place, f"it is cut off or damaged ({error})", "a whole .zip archive") from None
    with archive:
        return _read(_Zip(place, archive), benchmark, progress)


def _read(files: _Files, benchmark: Benchmark, progress: Progress) -> BenchmarkImages:
    codes = _lines(files, "wnids.txt")
    if len(codes) != benchmark.classes or len(set(codes)) != len(codes) or not all(map(str.isalnum, codes)):
        raise altered(files.where("wnids.txt"), f"it lists {len(set(codes))} classes", f"{benchmark.classes} classes")
    each = benchmark.train // benchmark.classes
    published = [(f"train/{code}/images/{code}_{n}.JPEG", c) for c, code in enumerate(codes) for n in range(each)]
    train = [(name, c) for name, c in published if not benchmark.partial or files.has(name)]
    test = [(f"val/images/{name}", codes.index(code)) for name, code in _annotations(files, codes, benchmark)]
    names, labels = zip(*train, *test, strict=True)
    splits = [SPLITS.index("train")] * len(train) + [SPLITS.index("test")] * len(test)
    return BenchmarkImages(
        images=_decoded(files, names, progress),
        labels=np.array(labels, np.int64),
        splits=np.array(splits, np.int64),
        class_names=_class_names(files, codes),
        files=names,
        notes=("The images that the authors call val are the test split: their own test images have no labels.",),
    )


def _annotations(files: _Files, codes: Sequence[str], benchmark: Benchmark) -> list[tuple[str, str]]:
    """File and class of every val image, in the order of the annotations."""
    known, where = set(codes), files.where("val/val_annotations.txt")
    rows = [tuple(line.split("\t")[:2]) for line in _lines(files, "val/val_annotations.txt")]
    if not benchmark.takes(len(rows), benchmark.test) or len({row[0] for row in rows}) != len(rows):
        raise altered(where, f"it lists {len(rows)} images", f"{benchmark.test} different images", fewer=True)
    told = []
    for row in rows:
        if len(row) != 2 or row[1] not in known or "/" in row[0] or "\\" in row[0] or not row[0].isprintable():
            raise altered(where, "a line has no class of wnids.txt", "file name and class, parted by tabs")
        told.append((row[0], row[1]))
    return told


def _class_names(files: _Files, codes: Sequence[str]) -> tuple[str, ...]:
    """The first word for each class; where two share it, the class's code beside it."""
    words = dict(line.split("\t", 1) for line in _lines(files, "words.txt") if "\t" in line)
    if unknown := [code for code in codes if code not in words]:
        raise altered(files.where("words.txt"), f"it does not name {len(unknown)} classes", "a line for every class")
    first = [words[code].split(",")[0].strip() for code in codes]
    often = Counter(first)
    names = [name if often[name] == 1 else f"{name} ({code})" for name, code in zip(first, codes, strict=True)]
    return check_class_names(names, len(codes), files.where("words.txt"))


def _lines(files: _Files, name: str) -> list[str]:
    text = files.read(name, LIST_LIMIT).decode("utf-8", errors="replace")
    return [line for line in text.splitlines() if line.strip()]


def _decoded(files: _Files, names: Sequence[str], progress: Progress) -> np.ndarray:
    """Uint8 (N, 3, 64, 64). Pillow lets other threads work while it decodes."""
    images = np.empty((len(names), 3, SIDE, SIDE), np.uint8)

    def fill(start: int) -> int:
        some = names[start : start + CHUNK]
        for n, name in enumerate(some, start):
            images[n] = _picture(files.read(name, PICTURE_LIMIT), files.where(name))
        return len(some)

    with progress.task("Reading images", len(names)) as task, ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for count in pool.map(fill, range(0, len(names), CHUNK)):
                task.advance(count)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return images


def _picture(content: bytes, where: str) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as picture:
            if picture.size != (SIDE, SIDE):
                raise altered(where, f"it has {picture.size[0]} x {picture.size[1]} pixels", f"{SIDE} x {SIDE} pixels")
            return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
        raise altered(where, f"its {len(content)} bytes are no whole JPEG", "a JPEG") from None


class _Folder:
    """The unpacked folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def read(self, name: str, limit: int) -> bytes:
        try:
            with (self.place / name).open("rb") as file:
                return _within(file.read(limit + 1), limit, self.where(name))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise _absent(str(self.place), name) from None

    def has(self, name: str) -> bool:
        return (self.place / name).is_file()

    def where(self, name: str) -> str:
        return str(self.place / name)


class _Zip:
    """The archive. Nothing of it is unpacked to disk."""

    def __init__(self, place: Path, archive: zipfile.ZipFile) -> None:
        self.place, self.archive = place, archive
        self._names = set(archive.namelist())

    def read(self, name: str, limit: int) -> bytes:
        try:
            with self.archive.open(f"{FOLDER}/{name}") as file:
                return _within(file.read(limit + 1), limit, self.where(name))
        except KeyError:
            raise _absent(str(self.place), name) from None
        except DataError:
            raise
        except Exception as error:  # every decompressor under zipfile has its own kinds
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise altered(self.where(name), f"it is damaged ({error})", "the authors' archive") from None

    def has(self, name: str) -> bool:
        return f"{FOLDER}/{name}" in self._names

    def where(self, name: str) -> str:
        return f"{name} in {self.place}"


def _within(content: bytes, limit: int, where: str) -> bytes:
    if len(content) > limit:
        raise altered(where, f"it has more than {limit} bytes", f"at most {limit} bytes")
    return content


def _absent(place: str, name: str) -> DataError:
    return DataError(
        f"{place} lacks {name}",
        expected="every file of the authors' archive",
        do="unpack it again, or take the folder away and let --download fetch it",
    )
