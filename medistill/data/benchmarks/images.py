"""Benchmark images: what every reader returns, and how it says that a file is not as its authors publish it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import SPLITS, Split
from medistill.data.benchmarks.catalogue import Benchmark
from medistill.errors import DataError


@dataclass(frozen=True)
class BenchmarkImages:
    """A benchmark in memory.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: int64 (N,), index into `class_names`.
        splits: int64 (N,), index into `SPLITS`, as its authors part it.
        class_names: the official ones, in the official order.
        files: file that each image was read from, relative to the benchmark's folder or archive.
        notes: what the report must state of the reading.
    """

    images: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    class_names: tuple[str, ...]
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def of(self, split: Split) -> np.ndarray:
        """Indices (int64) of the images of a split."""
        return np.flatnonzero(self.splits == SPLITS.index(split))


def altered(file: Path | str, seen: str, expected: str, *, fewer: bool = False) -> DataError:
    """Say that a benchmark's file is damaged or not the official one; ``fewer``, that it may have been cut down."""
    cut = "; a copy that was cut down on purpose is taken with --partial" if fewer else ""
    return DataError(
        f"{file} is not as its authors publish it: {seen}",
        expected=expected,
        do="fetch the file again from its authors, or take it away and let --download fetch it" + cut,
    )


def missing(benchmark: Benchmark, data: Path | None) -> DataError:
    """Say that none of a benchmark's files are there, and the two ways to have them."""
    file = benchmark.files[0]
    where = f"no file of {benchmark.title} was found in {data}" if data else f"no file of {benchmark.title} is here"
    return DataError(
        where,
        expected=f"one of {', '.join(file.name for file in benchmark.files)}, as published or unpacked",
        do=f"fetch {file.url} and name its folder with --data, or let medistill fetch it with --download",
    )


def check_labels(labels: np.ndarray, classes: int, file: Path | str) -> None:
    """Refuse labels outside 0 to ``classes - 1``.

    Raises:
        DataError: naming the file and the labels that were seen.
    """
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise altered(file, f"its labels go from {labels.min()} to {labels.max()}", f"labels from 0 to {classes - 1}")


def check_class_names(names: list[str], classes: int, file: Path | str) -> tuple[str, ...]:
    """The class names, where there are as many as classes, and no two alike.

    Raises:
        DataError: another number of names, an empty one, or a repeated one.
    """
    if len(names) != classes or len(set(names)) != classes or not all(name.isprintable() and name for name in names):
        raise altered(file, f"it names {len(set(names))} classes", f"{classes} different names")
    return tuple(names)
