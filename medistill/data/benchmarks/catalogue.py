"""Catalogue: the benchmarks of the field, their official files, and where these come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medistill.errors import UsageError
from medistill.nearest_names import did_you_mean

BenchmarkName = Literal["cifar10", "cifar100", "tiny-imagenet", "pneumoniamnist"]


@dataclass(frozen=True)
class OfficialFile:
    """A file as its authors publish it.

    Attributes:
        name: its name.
        url: where its authors offer it.
        known_hash: what its bytes are known by, ``sha256:`` or ``md5:`` and hexadecimal digits.
        bytes: its size.
        source: where the hash was read.
    """

    name: str
    url: str
    known_hash: str
    bytes: int
    source: str


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        name: what the command calls it.
        title: its name in a sentence.
        channels: of an image.
        sizes: sides in pixels in which it is published.
        classes: how many.
        train: images of the training split.
        val: images of the validation split, 0 where it has none.
        test: images of the test split.
        files: official files; the first one that fits is what a download takes.
        partial: a copy with fewer images than published is taken too.
    """

    name: BenchmarkName
    title: str
    channels: Literal[1, 3]
    sizes: tuple[int, ...]
    classes: int
    train: int
    val: int
    test: int
    files: tuple[OfficialFile, ...]
    partial: bool = False

    def takes(self, count: int, published: int) -> bool:
        """Whether a copy may have ``count`` images of a file or split for which so many are published."""
        return 0 < count <= published if self.partial else count == published

    def file_for(self, image_size: int) -> OfficialFile:
        """The file to download for images of that size: of that size, or the next larger one, or the largest."""
        if len(self.sizes) == 1:
            return self.files[0]
        return self.files[self.sizes.index(nearest_size(self.sizes, image_size))]


def nearest_size(sizes: tuple[int, ...], image_size: int) -> int:
    """Of ascending ``sizes`` the smallest that is not below ``image_size``, else the largest."""
    return next((size for size in sizes if size >= image_size), sizes[-1])


_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_ZENODO = "https://zenodo.org/records/10519652/files/"
_MEDMNIST = "MD5 in medmnist/info.py (MedMNIST 3), as Zenodo record 10519652 states it"
_CIFAR_PYTHON = "SHA-256 in Keras and torchvision; the authors' page states the MD5"
_CIFAR_BINARY = "SHA-256 in GoMLX and torchvision for Ruby; the authors' page states the MD5"

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name="cifar10",
            title="CIFAR-10",
            channels=3,
            sizes=(32,),
            classes=10,
            train=50_000,
            val=0,
            test=10_000,
            files=(
                OfficialFile(
                    "cifar-10-python.tar.gz",
                    f"{_TORONTO}cifar-10-python.tar.gz",
                    "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                    170_498_071,
                    _CIFAR_PYTHON,
                ),
                OfficialFile(
                    "cifar-10-binary.tar.gz",
                    f"{_TORONTO}cifar-10-binary.tar.gz",
                    "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                    170_052_171,
                    _CIFAR_BINARY,
                ),
            ),
        ),
        Benchmark(
            name="cifar100",
            title="CIFAR-100",
            channels=3,
            sizes=(32,),
            classes=100,
            train=50_000,
            val=0,
            test=10_000,
            files=(
                OfficialFile(
                    "cifar-100-python.tar.gz",
                    f"{_TORONTO}cifar-100-python.tar.gz",
                    "sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
                    169_001_437,
                    _CIFAR_PYTHON,
                ),
                OfficialFile(
                    "cifar-100-binary.tar.gz",
                    f"{_TORONTO}cifar-100-binary.tar.gz",
                    "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                    168_513_733,
                    _CIFAR_BINARY,
                ),
            ),
        ),
        Benchmark(
            name="tiny-imagenet",
            title="Tiny ImageNet",
            channels=3,
            sizes=(64,),
            classes=200,
            train=100_000,
            val=0,
            test=10_000,
            files=(
                OfficialFile(
                    "tiny-imagenet-200.zip",
                    "https://cs231n.stanford.edu/tiny-imagenet-200.zip",
                    "sha256:6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
                    248_100_043,
                    "SHA-256 as several projects that pin this file record it, beside the MD5 of torchvision's users; "
                    "its authors state none",
                ),
            ),
        ),
        Benchmark(
            name="pneumoniamnist",
            title="PneumoniaMNIST",
            channels=1,
            sizes=(28, 64, 128, 224),
            classes=2,
            train=4_708,
            val=524,
            test=624,
            files=tuple(
                OfficialFile(name, f"{_ZENODO}{name}?download=1", f"md5:{digest}", size, _MEDMNIST)
                for name, digest, size in (
                    ("pneumoniamnist.npz", "28209eda62fecd6e6a2d98b1501bb15f", 4_170_669),
                    ("pneumoniamnist_64.npz", "8f4eceb4ccffa70c672198ea285246c6", 20_606_998),
                    ("pneumoniamnist_128.npz", "05b46931834c231683c68f40c47b2971", 75_506_212),
                    ("pneumoniamnist_224.npz", "d6a3c71de1b945ea11211b03746c1fe1", 214_384_716),
                )
            ),
        ),
    )
}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in BENCHMARKS:
        raise UsageError(
            f"there is no benchmark '{name}'{did_you_mean(name, BENCHMARKS)}",
            expected=f"one of {', '.join(BENCHMARKS)}",
            do="take one of these",
        )
    return BENCHMARKS[name]
