"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from their python or binary version, unpacked or as archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from medistill.artifacts.corpus import SPLITS
from medistill.data.benchmarks.arrays_unpickler import RefusedPickleError, load_arrays
from medistill.data.benchmarks.catalogue import Benchmark
from medistill.data.benchmarks.images import BenchmarkImages, altered, check_class_names, check_labels
from medistill.data.benchmarks.members import find, read_members

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
NAMES_LIMIT = 2**16
"""Most bytes of a file of class names."""
PICKLE_SLACK = 2**21
"""Bytes of a pickle beyond the pixels, for each 10,000 images: labels and the names of the original files."""
PICKLE_GROWTH = 2
"""How many bytes a pixel may take in a pickle: Python 3 writes those from 128 on as two for Python 2."""


@dataclass(frozen=True)
class Version:
    """One of the two forms in which a CIFAR is published.

    Attributes:
        folder: the folder inside the archive.
        archive: name of the archive.
        kind: pickled arrays, or records of bytes.
        train: files of the training split.
        test: file of the test split.
        names: file of the class names.
        label: key of the labels in a pickle; of the class names in the pickle of names.
        label_bytes: bytes before the pixels of a record; the last one is the label.
    """

    folder: str
    archive: str
    kind: Literal["python", "binary"]
    train: tuple[str, ...]
    test: str
    names: str
    label: tuple[str, str] = ("", "")
    label_bytes: int = 0


_BATCHES = tuple(f"data_batch_{n}" for n in range(1, 6))
VERSIONS: dict[str, tuple[Version, ...]] = {
    "cifar10": (
        Version(
            "cifar-10-batches-py",
            "cifar-10-python.tar.gz",
            "python",
            _BATCHES,
            "test_batch",
            "batches.meta",
            label=("labels", "label_names"),
        ),
        Version(
            "cifar-10-batches-bin",
            "cifar-10-binary.tar.gz",
            "binary",
            tuple(f"{name}.bin" for name in _BATCHES),
            "test_batch.bin",
            "batches.meta.txt",
            label_bytes=1,
        ),
    ),
    "cifar100": (
        Version(
            "cifar-100-python",
            "cifar-100-python.tar.gz",
            "python",
            ("train",),
            "test",
            "meta",
            label=("fine_labels", "fine_label_names"),
        ),
        Version(
            "cifar-100-binary",
            "cifar-100-binary.tar.gz",
            "binary",
            ("train.bin",),
            "test.bin",
            "fine_label_names.txt",
            label_bytes=2,
        ),
    ),
}


def find_cifar(data: Path, benchmark: Benchmark) -> Path | None:
    """The folder or archive of the first version that is in ``data``; None where there is none."""
    places = (find(data, version.folder, version.archive, version.test) for version in VERSIONS[benchmark.name])
    return next((place for place in places if place is not None), None)


def read_cifar(place: Path, benchmark: Benchmark) -> BenchmarkImages:
    """Read every image of CIFAR-10 or CIFAR-100 (its 100 fine classes).

    Args:
        place: the archive, or the unpacked folder.
        benchmark: its entry in the catalogue.

    Raises:
        DataError: a file is missing, cut off or altered; a pickle asks for more than arrays.
    """
    version = next(v for v in VERSIONS[benchmark.name] if find(place, v.folder, v.archive, v.test) == place)
    counts = {name: benchmark.train // len(version.train) for name in version.train} | {version.test: benchmark.test}
    content = read_members(
        place, version.folder, {name: _limit(version, n) for name, n in counts.items()} | {version.names: NAMES_LIMIT}
    )
    read = _pickled if version.kind == "python" else _records
    batches = [read(content.pop(name), n, version, benchmark, _where(place, name)) for name, n in counts.items()]
    splits = [SPLITS.index("test" if name == version.test else "train") for name in counts]
    sizes = [len(labels) for _, labels in batches]
    return BenchmarkImages(
        images=np.concatenate([images for images, _ in batches]).reshape(-1, *SHAPE),
        labels=np.concatenate([labels for _, labels in batches]),
        splits=np.repeat(np.array(splits, np.int64), sizes),
        class_names=_class_names(content[version.names], version, benchmark.classes, _where(place, version.names)),
        files=tuple(np.repeat(list(counts), sizes).tolist()),
    )


def _limit(version: Version, images: int) -> int:
    if version.kind == "binary":
        return images * (version.label_bytes + PIXELS)
    return PICKLE_GROWTH * images * PIXELS + PICKLE_SLACK * (1 + images // 10_000)


def _where(place: Path, name: str) -> str:
    return str(place / name) if place.is_dir() else f"{name} in {place}"


def _records(
    content: bytes, images: int, version: Version, benchmark: Benchmark, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (N, 3072) and labels int64 (N,) of records of label and pixels."""
    record = version.label_bytes + PIXELS
    if len(content) % record or not benchmark.takes(len(content) // record, images):
        wanted = f"{images * record} bytes: {images} records of {record}"
        raise altered(where, f"it has {len(content)} bytes", wanted, fewer=True)
    table = np.frombuffer(content, np.uint8).reshape(-1, record)
    labels = table[:, version.label_bytes - 1].astype(np.int64)
    check_labels(labels, benchmark.classes, where)
    return table[:, version.label_bytes :], labels


def _pickled(
    content: bytes, images: int, version: Version, benchmark: Benchmark, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """The same of a pickle."""
    loaded = _unpickled(content, where)
    pixels, labels = loaded.get("data"), loaded.get(version.label[0])
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.shape[1:] != (PIXELS,)
        or not benchmark.takes(len(pixels), images)
    ):
        seen = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else "no array"
        raise altered(where, f"its 'data' is {seen}", f"uint8 ({images}, {PIXELS})", fewer=True)
    images = len(pixels)
    if (
        not isinstance(labels, list)
        or len(labels) != images
        or not all(type(label) is int and label.bit_length() < 32 for label in labels)
    ):
        seen = f"a list of {len(labels)}" if isinstance(labels, list) else "no list"
        raise altered(where, f"its '{version.label[0]}' is {seen}", f"a list of {images} whole numbers")
    numbers = np.array(labels, np.int64)
    check_labels(numbers, benchmark.classes, where)
    return pixels, numbers


def _class_names(content: bytes, version: Version, classes: int, where: str) -> tuple[str, ...]:
    if version.kind == "binary":
        return check_class_names(content.decode("latin1").split(), classes, where)
    names = _unpickled(content, where).get(version.label[1])
    if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
        raise altered(where, f"it has no list '{version.label[1]}'", f"{classes} names")
    return check_class_names(
        [name if isinstance(name, str) else name.decode("latin1") for name in names], classes, where
    )


def _unpickled(content: bytes, where: str) -> dict[str, object]:
    try:
        return load_arrays(content)
    except RefusedPickleError as error:
        raise altered(where, str(error), "a pickle of arrays, texts, numbers and lists alone") from None
