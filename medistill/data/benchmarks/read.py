"""Read: where each benchmark's files lie, and its reader."""

from __future__ import annotations

from pathlib import Path

from medistill.data.benchmarks.catalogue import Benchmark
from medistill.data.benchmarks.cifar import find_cifar, read_cifar
from medistill.data.benchmarks.images import BenchmarkImages
from medistill.data.benchmarks.medmnist import find_medmnist, read_medmnist
from medistill.data.benchmarks.tiny_imagenet import find_tiny_imagenet, read_tiny_imagenet
from medistill.progress import Progress


def find_files(data: Path, benchmark: Benchmark, image_size: int) -> Path | None:
    """The folder, archive or file of a benchmark: ``data`` itself, or in it; None where there is none.

    Args:
        image_size: side of the images, for the benchmark that is published in several.
    """
    match benchmark.name:
        case "cifar10" | "cifar100":
            return find_cifar(data, benchmark)
        case "tiny-imagenet":
            return find_tiny_imagenet(data)
        case "pneumoniamnist":
            return find_medmnist(data, benchmark, image_size)


def read_benchmark(place: Path, benchmark: Benchmark, image_size: int, progress: Progress) -> BenchmarkImages:
    """Read a benchmark from what `find_files` found.

    Raises:
        DataError: a file is missing, cut off or altered.
    """
    match benchmark.name:
        case "cifar10" | "cifar100":
            return read_cifar(place, benchmark)
        case "tiny-imagenet":
            return read_tiny_imagenet(place, benchmark, progress)
        case "pneumoniamnist":
            return read_medmnist(place, benchmark, image_size)
