"""PneumoniaMNIST (MedMNIST v2 and MedMNIST+, Yang et al. 2023) from its .npz files of four sizes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import SPLITS
from medistill.data.benchmarks.catalogue import Benchmark, nearest_size
from medistill.data.benchmarks.images import BenchmarkImages, altered, check_labels
from medistill.errors import DataError

CLASS_NAMES = ("normal", "pneumonia")
HEADER = 2**16
"""Most bytes of an array's file beyond its values."""


def find_medmnist(data: Path, benchmark: Benchmark, image_size: int) -> Path | None:
    """The file in ``data`` whose images are of the wanted size, else of the next larger one, else of the largest."""
    folder = data.parent if data.is_file() else data
    names = {size: file.name for size, file in zip(benchmark.sizes, benchmark.files, strict=True)}
    here = {size: folder / name for size, name in names.items() if (folder / name).is_file()}
    if data.is_file():
        here = {size: file for size, file in here.items() if file == data}
    return here[nearest_size(tuple(here), image_size)] if here else None


def read_medmnist(file: Path, benchmark: Benchmark, image_size: int) -> BenchmarkImages:
    """Read an .npz file, and resize its images where they are of another size.

    Args:
        file: one of the benchmark's files.
        benchmark: its entry in the catalogue.
        image_size: side of the images in pixels.

    Raises:
        DataError: the file is cut off or altered.
    """
    size = benchmark.sizes[[official.name for official in benchmark.files].index(file.name)]
    images, labels, splits = _read(file, benchmark, size)
    notes = []
    if size != image_size:
        images = np.stack([_resized(image, image_size) for image in images])
        notes.append(f"The images were resized from {size} to {image_size} pixels.")
    return BenchmarkImages(
        images=images[:, None],
        labels=labels,
        splits=splits,
        class_names=CLASS_NAMES,
        files=(file.name,) * len(labels),
        notes=tuple(notes),
    )


def _read(file: Path, benchmark: Benchmark, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 (N, H, W), labels and splits int64 (N,)."""
    counts = {"train": benchmark.train, "val": benchmark.val, "test": benchmark.test}
    images, labels = [], []
    try:
        _check_sizes(file, counts, size)
        with np.load(file, allow_pickle=False) as arrays:
            for split, published in counts.items():
                pixels, told = arrays[f"{split}_images"], arrays[f"{split}_labels"]
                where = f"{split}_images in {file}"
                if (
                    pixels.dtype != np.uint8
                    or pixels.shape[1:] != (size, size)
                    or not benchmark.takes(len(pixels), published)
                ):
                    wanted = f"uint8 ({published}, {size}, {size})"
                    raise altered(where, f"it is {pixels.dtype} {pixels.shape}", wanted, fewer=True)
                count = len(pixels)
                where = f"{split}_labels in {file}"
                if told.dtype.kind not in "ui" or told.shape != (count, 1):
                    raise altered(where, f"it is {told.dtype} {told.shape}", f"whole numbers ({count}, 1)")
                check_labels(told, benchmark.classes, where)
                images.append(pixels)
                labels.append(told[:, 0].astype(np.int64))
    except DataError:
        raise
    except KeyError as error:
        raise altered(file, f"it lacks {error}", "images and labels of train, val and test") from None
    except Exception as error:  # zipfile, the decompressors under it and NumPy raise many kinds
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise altered(file, f"it is cut off or damaged ({error})", "the authors' .npz file") from None
    splits = np.repeat([SPLITS.index("train"), SPLITS.index("val"), SPLITS.index("test")], list(map(len, labels)))
    return np.concatenate(images), np.concatenate(labels), splits.astype(np.int64)


def _check_sizes(file: Path, counts: dict[str, int], size: int) -> None:
    """Refuse arrays that unfold to more than they can need, before they are unfolded."""
    with zipfile.ZipFile(file) as archive:
        for split, count in counts.items():
            for name, limit in ((f"{split}_images", count * size * size), (f"{split}_labels", 8 * count)):
                bytes_there = archive.getinfo(f"{name}.npy").file_size
                if bytes_there > limit + HEADER:
                    raise altered(f"{name} in {file}", f"it has {bytes_there} bytes", f"about {limit} bytes")


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    """One grey image resampled as Pillow does it, with a filter as wide as what it leaves out."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
