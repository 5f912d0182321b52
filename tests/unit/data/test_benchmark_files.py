"""The official files of each benchmark, small ones of the same form: read alike in every form, refused when altered."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medistill.data.benchmarks import members, tiny_imagenet
from medistill.data.benchmarks.catalogue import BENCHMARKS, Benchmark, find_benchmark
from medistill.data.benchmarks.cifar import VERSIONS, Version
from medistill.data.benchmarks.images import BenchmarkImages
from medistill.data.benchmarks.read import find_files, read_benchmark
from medistill.errors import DataError, UsageError
from medistill.progress import Silent

TRAIN, TEST = 20, 7
CIFAR = {name: replace(BENCHMARKS[name], train=TRAIN, test=TEST) for name in ("cifar10", "cifar100")}
TINY = replace(BENCHMARKS["tiny-imagenet"], classes=3, train=6, test=4)
PNEUMONIA = replace(BENCHMARKS["pneumoniamnist"], train=8, val=3, test=4)
CODES = ("n01443537", "n01629819", "n01641577")


def read(data: Path, benchmark: Benchmark, size: int = 32) -> BenchmarkImages:
    place = find_files(data, benchmark, size)
    assert place is not None
    return read_benchmark(place, benchmark, size, Silent())


def drawn(benchmark: Benchmark) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Pixels uint8 (N, 3072), labels (N,) and names of the classes."""
    numbers = np.random.default_rng(1)
    pixels = numbers.integers(0, 256, (TRAIN + TEST, 3072), np.uint8)
    return pixels, numbers.integers(0, benchmark.classes, TRAIN + TEST), [f"c{n}" for n in range(benchmark.classes)]


def write_cifar(folder: Path, benchmark: Benchmark, version: Version) -> None:
    pixels, labels, names = drawn(benchmark)
    place = folder / version.folder
    place.mkdir(parents=True)
    files = np.split(np.arange(TRAIN), len(version.train))
    for name, rows in zip((*version.train, version.test), [*files, np.arange(TRAIN, TRAIN + TEST)], strict=True):
        if version.kind == "python":
            batch = {b"data": pixels[rows], version.label[0].encode(): labels[rows].tolist(), b"batch_label": b"one"}
            (place / name).write_bytes(pickle.dumps(batch, 2))
        else:
            before = np.full((len(rows), version.label_bytes), 9, np.uint8)
            before[:, -1] = labels[rows]
            (place / name).write_bytes(np.hstack([before, pixels[rows]]).tobytes())
    if version.kind == "python":
        (place / version.names).write_bytes(pickle.dumps({version.label[1].encode(): [n.encode() for n in names]}, 2))
    else:
        (place / version.names).write_text("\n".join(names) + "\n\n")


def as_tar(folder: Path, version: Version) -> Path:
    archive = folder / version.archive
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / version.folder, version.folder)
    return archive


@pytest.mark.parametrize("form", ["folder", "its parent", "archive", "folder of the archive", "renamed"])
@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("name", list(CIFAR))
def test_cifar_in_every_form(name: str, kind: int, form: str, tmp_path: Path) -> None:
    benchmark, version = CIFAR[name], VERSIONS[name][kind]
    write_cifar(tmp_path / "a", benchmark, version)
    data = tmp_path / "a" / version.folder
    if form == "its parent":
        data = tmp_path / "a"
    elif form == "archive":
        data = as_tar(tmp_path / "a", version)
    elif form == "folder of the archive":
        (tmp_path / "b").mkdir()
        as_tar(tmp_path / "a", version).rename(tmp_path / "b" / version.archive)
        data = tmp_path / "b"
    elif form == "renamed":
        data = data.rename(tmp_path / "mine")
    told = read(data, benchmark)
    pixels, labels, names = drawn(benchmark)
    np.testing.assert_array_equal(told.images, pixels.reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(told.labels, labels)
    assert told.class_names == tuple(names)
    assert [len(told.of(split)) for split in ("train", "val", "test")] == [TRAIN, 0, TEST]
    assert told.files[0] == version.train[0]
    assert told.files[-1] == version.test


def refused_then_read(data: Path, published: Benchmark, size: int) -> BenchmarkImages:
    """What a copy with fewer images than ``published`` is with --partial, without which it is refused."""
    with pytest.raises(DataError) as caught:
        read(data, published, size)
    assert "--partial" in caught.value.do or "lacks train/" in caught.value.seen
    return read(data, replace(published, partial=True), size)


@pytest.mark.parametrize("kind", [0, 1])
def test_a_cifar_that_was_cut_down_is_read_only_where_that_is_meant(kind: int, tmp_path: Path) -> None:
    version = VERSIONS["cifar100"][kind]
    write_cifar(tmp_path, CIFAR["cifar100"], version)
    told = refused_then_read(tmp_path, replace(CIFAR["cifar100"], train=TRAIN + 9, test=TEST + 5), 32)
    pixels, labels, _ = drawn(CIFAR["cifar100"])
    np.testing.assert_array_equal(told.images, pixels.reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(told.labels, labels)
    assert [len(told.of(split)) for split in ("train", "test")] == [TRAIN, TEST]
    assert (told.files[TRAIN - 1], told.files[TRAIN]) == (version.train[0], version.test)
    too_many = replace(CIFAR["cifar100"], train=TRAIN - 1, partial=True)
    with pytest.raises(DataError, match=r"data|bytes"):
        read(tmp_path, too_many)
    if kind:
        cut(tmp_path / version.folder / version.test)
        with pytest.raises(DataError, match=r"records of 3074"):
            read(tmp_path, replace(CIFAR["cifar100"], partial=True))


@pytest.mark.parametrize("zipped", [False, True])
def test_a_tiny_imagenet_that_was_cut_down_is_read_only_where_that_is_meant(zipped: bool, tmp_path: Path) -> None:
    files = tiny_files()
    del files["train/n01629819/images/n01629819_0.JPEG"]
    write_tiny(tmp_path, files, zipped=zipped)
    told = refused_then_read(tmp_path, TINY, 64)
    assert told.labels.tolist() == [0, 0, 1, 2, 2, 2, 0, 1, 0]
    assert told.files[2] == "train/n01629819/images/n01629819_1.JPEG"
    assert [len(told.of(split)) for split in ("train", "test")] == [5, 4]
    told = refused_then_read(tmp_path, replace(TINY, test=6), 64)
    assert len(told.of("test")) == 4


def test_a_pneumoniamnist_that_was_cut_down_is_read_only_where_that_is_meant(tmp_path: Path) -> None:
    arrays = pneumonia()
    np.savez_compressed(tmp_path / "pneumoniamnist.npz", **arrays)
    told = refused_then_read(tmp_path, replace(PNEUMONIA, train=9, test=7), 28)
    np.testing.assert_array_equal(told.images[told.of("test")][:, 0], arrays["test_images"])
    assert [len(told.of(split)) for split in ("train", "val", "test")] == [8, 3, 4]


def cut(path: Path, count: int = 1) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def batch_with(path: Path, **changes: object) -> None:
    batch = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({**batch, **{key.encode(): value for key, value in changes.items()}}, 2))


@pytest.mark.parametrize(
    ("kind", "harm", "why"),
    [
        (0, lambda f: (f / "data_batch_3").unlink(), r"lacks data_batch_3"),
        (0, lambda f: cut(f / "data_batch_2", 50), r"data_batch_2 is not as its authors publish it: it is damaged"),
        (0, lambda f: batch_with(f / "test_batch", labels=[3] * 6), r"'labels' is a list of 6.*list of 7 whole"),
        (0, lambda f: batch_with(f / "test_batch", labels=[10] * 7), r"labels go from 10 to 10.*from 0 to 9"),
        (0, lambda f: batch_with(f / "test_batch", labels=[10**5000] * 7), r"list of 7 whole numbers"),
        (0, lambda f: batch_with(f / "test_batch", labels=[True] * 7), r"list of 7 whole numbers"),
        (0, lambda f: batch_with(f / "test_batch", data=np.zeros((7, 99), np.uint8)), r"\(7, 99\).*\(7, 3072\)"),
        (0, lambda f: batch_with(f / "test_batch", data=np.zeros((7, 3072))), r"float64.*uint8 \(7, 3072\)"),
        (0, lambda f: batch_with(f / "batches.meta", label_names=[b"a", b"b"]), r"names 2 classes.*10 different"),
        (0, lambda f: (f / "data_batch_1").write_bytes(b"cos\nsystem\n(S'true'\ntR."), r"wants to call os\.system"),
        (0, lambda f: (f / "test_batch").write_bytes(bytes(2**24)), r"more than \d+ bytes"),
        (1, lambda f: (f / "test_batch.bin").unlink(), r"lacks test_batch\.bin"),
        (1, lambda f: cut(f / "data_batch_5.bin"), r"12291 bytes.*12292 bytes: 4 records of 3073"),
        (1, lambda f: (f / "data_batch_5.bin").write_bytes(bytes(12293)), r"more than 12292 bytes"),
        (1, lambda f: (f / "test_batch.bin").write_bytes(b"\x0a" * 3073 * 7), r"labels go from 10 to 10.*from 0 to 9"),
        (1, lambda f: (f / "batches.meta.txt").write_text("a a a"), r"names 1 classes.*10 different names"),
    ],
)
def test_altered_cifar_files_are_named(kind: int, harm: Callable[[Path], object], why: str, tmp_path: Path) -> None:
    version = VERSIONS["cifar10"][kind]
    write_cifar(tmp_path, CIFAR["cifar10"], version)
    harm(tmp_path / version.folder)
    with pytest.raises(DataError, match=why) as caught:
        read(tmp_path, CIFAR["cifar10"])
    assert "--download" in caught.value.do


def test_a_cut_archive_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    version = VERSIONS["cifar10"][1]
    write_cifar(tmp_path, CIFAR["cifar10"], version)
    whole = as_tar(tmp_path, version).read_bytes()
    archive = tmp_path / "b" / version.archive
    archive.parent.mkdir()
    for length in np.linspace(0, len(whole) - 1, 40).astype(int):
        archive.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut off or damaged|lacks"):
            read(archive, CIFAR["cifar10"])


def tar_of(folder: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    version = VERSIONS["cifar10"][1]
    write_cifar(folder, CIFAR["cifar10"], version)
    archive = folder / "b" / version.archive
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
        tar.add(folder / version.folder, version.folder)
    return archive


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", content: bytes = b"") -> tuple:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(content)
    return info, content


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_member_that_is_no_plain_file_is_refused(kind: bytes, tmp_path: Path) -> None:
    archive = tar_of(tmp_path, entry("cifar-10-batches-bin/test_batch.bin", kind, "/etc/passwd"))
    with pytest.raises(DataError, match=r"test_batch\.bin in .* a link or no plain file"):
        read(archive, CIFAR["cifar10"])


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    archive = tar_of(tmp_path, entry("cifar-10-batches-bin/test_batch.bin", content=bytes(7 * 3073)))
    with pytest.raises(DataError, match=r"test_batch\.bin in .* there twice"):
        read(archive, CIFAR["cifar10"])


def test_headers_that_make_no_sense_are_named(tmp_path: Path) -> None:
    """GNU's sparse headers with words in place of numbers, and headers of headers without an end."""
    sparse = tarfile.TarInfo("x")
    sparse.pax_headers = {"GNU.sparse.map": "a,b"}
    (tmp_path / "1").mkdir()
    with pytest.raises(DataError, match=r"cut off or damaged"):
        read(tar_of(tmp_path / "1", (sparse, b"")), CIFAR["cifar10"])
    (tmp_path / "2").mkdir()
    archive = tar_of(tmp_path / "2")
    long, _ = entry("x", tarfile.GNUTYPE_LONGNAME, content=b"name\0")
    archive.write_bytes(gzip.compress((long.tobuf() + b"name\0".ljust(512, b"\0")) * 3000))
    with pytest.raises(DataError, match=r"cut off or damaged"):
        read(archive, CIFAR["cifar10"])


def test_names_that_lead_out_of_the_folder_are_passed_over(tmp_path: Path) -> None:
    names = ("../escaped", "/tmp/escaped", "cifar-10-batches-bin/../../escaped", "test_batch.bin")
    archive = tar_of(tmp_path, *(entry(name, content=b"x") for name in names))
    assert len(read(archive, CIFAR["cifar10"]).labels) == TRAIN + TEST
    assert not list(tmp_path.rglob("escaped"))


def test_an_archive_bomb_is_given_up_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "SLACK", 2**20)
    archive = tar_of(tmp_path, entry("readme", content=bytes(2**23)))
    assert archive.stat().st_size < 2**20
    with pytest.raises(DataError, match=r"unfolds to more than \d+ bytes"):
        read(archive, CIFAR["cifar10"])


def picture(side: int = 64, mode: str = "RGB", kind: str = "JPEG", seed: int = 0) -> bytes:
    grey = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    held = io.BytesIO()
    Image.fromarray(grey).convert(mode).save(held, kind)
    return held.getvalue()


def tiny_files() -> dict[str, bytes]:
    files = {
        "wnids.txt": "\n".join(CODES).encode(),
        "words.txt": b"n01443537\tgoldfish, Carassius auratus\nn01629819\tcrane\nn01641577\tcrane, bird\nn9\tother\n",
        "val/val_annotations.txt": "".join(
            f"val_{n}.JPEG\t{CODES[n % 3]}\t0\t32\t44\t62\n" for n in (2, 0, 1, 3)
        ).encode(),
    }
    for c, code in enumerate(CODES):
        for n in range(2):
            mode = "L" if n else "RGB"
            files[f"train/{code}/images/{code}_{n}.JPEG"] = picture(mode=mode, seed=10 * c + n)
    return files | {f"val/images/val_{n}.JPEG": picture(seed=100 + n) for n in range(4)}


def write_tiny(folder: Path, files: dict[str, bytes], *, zipped: bool) -> Path:
    if zipped:
        folder.mkdir(exist_ok=True)
        with zipfile.ZipFile(folder / "tiny-imagenet-200.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(f"tiny-imagenet-200/{name}", content)
        return folder
    for name, content in files.items():
        path = folder / "tiny-imagenet-200" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.mark.parametrize("zipped", [False, True])
def test_tiny_imagenet_as_folder_and_as_zip(zipped: bool, tmp_path: Path) -> None:
    files = tiny_files()
    told = read(write_tiny(tmp_path, files, zipped=zipped), TINY, 64)
    assert told.labels.tolist() == [0, 0, 1, 1, 2, 2, 2, 0, 1, 0]
    assert told.files[6] == "val/images/val_2.JPEG"
    assert [len(told.of(split)) for split in ("train", "val", "test")] == [6, 0, 4]
    assert told.class_names == ("goldfish", "crane (n01629819)", "crane (n01641577)")
    for n, name in enumerate(told.files):
        shown = np.asarray(Image.open(io.BytesIO(files[name])))
        shown = np.stack([shown] * 3, -1) if shown.ndim == 2 else shown
        np.testing.assert_array_equal(told.images[n], shown.transpose(2, 0, 1), err_msg=name)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("wnids.txt", b"a\nb\n", r"lists 2 classes.*3 classes"),
        ("words.txt", b"n01443537\tgoldfish\n", r"does not name 2 classes"),
        ("val/val_annotations.txt", b"val_0.JPEG\tn01443537\n", r"lists 1 images.*4 different images"),
        ("val/val_annotations.txt", b"a\tn9\nb\tn9\nc\tn9\nd\tn9\n", r"no class of wnids\.txt"),
        ("val/val_annotations.txt", b"a\0\tn01443537\nb\tn01443537\nc\tn01443537\nd\tn01443537\n", r"no class of"),
        ("val/val_annotations.txt", b"..\tn01443537\nb\tn01443537\nc\tn01443537\nd\tn01443537\n", r"lacks val"),
        ("words.txt", b"n01443537\t\x1b[2J\nn01629819\tb\nn01641577\tc\n", r"names 3 classes.*3 different names"),
        ("words.txt", b"n01443537\ta\nn01629819\ta\nn01641577\ta (n01443537)\n", r"names 2 classes"),
        ("val/val_annotations.txt", b"../a\tn01443537\nb\tn01443537\nc\tn01443537\nd\tn01443537\n", r"no class of"),
        ("val/images/val_1.JPEG", None, r"lacks val/images/val_1\.JPEG"),
        ("val/images/val_1.JPEG", picture()[:400], r"val_1\.JPEG.*no whole JPEG"),
        ("val/images/val_1.JPEG", picture(kind="PNG"), r"val_1\.JPEG.*no whole JPEG"),
        ("val/images/val_1.JPEG", picture(side=32), r"32 x 32 pixels.*64 x 64"),
        ("val/images/val_1.JPEG", picture() + bytes(2**20), r"more than 1048576 bytes"),
        ("train/n01443537/images/n01443537_1.JPEG", None, r"lacks train/n01443537"),
    ],
)
def test_altered_files_of_tiny_imagenet_are_named(
    name: str, content: bytes | None, why: str, zipped: bool, tmp_path: Path
) -> None:
    files = tiny_files()
    files.pop(name)
    write_tiny(tmp_path, files | ({} if content is None else {name: content}), zipped=zipped)
    with pytest.raises(DataError, match=why) as caught:
        read(tmp_path, TINY, 64)
    assert "--download" in caught.value.do


def test_a_cut_zip_is_named(tmp_path: Path) -> None:
    cut(write_tiny(tmp_path, tiny_files(), zipped=True) / tiny_imagenet.ARCHIVE, 300)
    with pytest.raises(DataError, match=r"tiny-imagenet-200\.zip is not .* cut off or damaged"):
        read(tmp_path, TINY, 64)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_altered_bytes_of_a_zip_are_named(method: int, tmp_path: Path) -> None:
    """Whatever the decompressor says of them, wherever they lie: in a file, in its header, in the list of files."""
    path = tmp_path / tiny_imagenet.ARCHIVE
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in tiny_files().items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
    whole, numbers, refused = path.read_bytes(), np.random.default_rng(0), 0
    for place in numbers.integers(len(whole), size=60):
        altered = bytearray(whole)
        altered[place] ^= 0xFF
        path.write_bytes(altered)
        try:
            read(tmp_path, TINY, 64)
        except DataError:
            refused += 1
    assert refused > 40


def pneumonia(size: int = 28) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(size)
    arrays = {}
    for split, count in (("train", 8), ("val", 3), ("test", 4)):
        arrays[f"{split}_images"] = numbers.integers(0, 256, (count, size, size), np.uint8)
        arrays[f"{split}_labels"] = numbers.integers(0, 2, (count, 1), np.uint8)
    return arrays


def test_pneumoniamnist_keeps_its_three_splits(tmp_path: Path) -> None:
    arrays = pneumonia()
    np.savez_compressed(tmp_path / "pneumoniamnist.npz", **arrays)
    for data in (tmp_path, tmp_path / "pneumoniamnist.npz"):
        told = read(data, PNEUMONIA, 28)
        assert told.class_names == ("normal", "pneumonia")
        assert told.notes == ()
        for split in ("train", "val", "test"):
            np.testing.assert_array_equal(told.images[told.of(split)][:, 0], arrays[f"{split}_images"])
            np.testing.assert_array_equal(told.labels[told.of(split)], arrays[f"{split}_labels"][:, 0])


@pytest.mark.parametrize(("wanted", "taken"), [(28, 28), (64, 64), (20, 28), (32, 64), (128, 64)])
def test_the_size_asked_for_or_the_next_one_resized_and_said(wanted: int, taken: int, tmp_path: Path) -> None:
    for size in (28, 64):
        np.savez(tmp_path / PNEUMONIA.file_for(size).name, **pneumonia(size))
    told = read(tmp_path, PNEUMONIA, wanted)
    assert told.images.shape == (15, 1, wanted, wanted)
    assert told.files[0] == PNEUMONIA.file_for(taken).name
    assert told.notes == (() if wanted == taken else (f"The images were resized from {taken} to {wanted} pixels.",))
    of_first = pneumonia(taken)["train_images"][0].mean()
    assert abs(told.images[0].mean() - of_first) < 6, "resizing keeps the mean"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"test_images": None}, r"lacks .*test_images"),
        ({"test_labels": np.array([[2]] * 4, np.uint8)}, r"labels go from 2 to 2.*from 0 to 1"),
        ({"test_labels": np.zeros((4, 14), np.uint8)}, r"\(4, 14\).*\(4, 1\)"),
        ({"val_images": np.zeros((3, 28, 28), np.float32)}, r"float32|bytes"),
        ({"train_images": np.zeros((7, 28, 28), np.uint8)}, r"\(7, 28, 28\).*\(8, 28, 28\)"),
        ({"train_images": np.zeros((8000, 28, 28), np.uint8)}, r"6272128 bytes"),
        ({"train_labels": np.array([[os] for os in (["x"] * 8)], object)}, r"Object arrays"),
    ],
)
def test_altered_arrays_of_pneumoniamnist_are_named(
    changes: dict[str, np.ndarray | None], why: str, tmp_path: Path
) -> None:
    arrays = {name: value for name, value in (pneumonia() | changes).items() if value is not None}
    np.savez_compressed(tmp_path / "pneumoniamnist.npz", **arrays)
    with pytest.raises(DataError, match=why):
        read(tmp_path, PNEUMONIA, 28)


@pytest.mark.parametrize(
    "content",
    [
        b"no array",
        b"\x93NUMPY\x01\x00\x76\x00"
        + b"{'descr': '|u1', 'fortran_order': False, 'shape': (2305843009213693951,)}".ljust(118),
        b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (".ljust(118),
    ],
    ids=["no header", "larger than any memory", "a header without an end"],
)
def test_an_array_that_is_none_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pneumoniamnist.npz"
    np.savez(path, **{name: value for name, value in pneumonia().items() if name != "val_images"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("val_images.npy", content)
    with pytest.raises(DataError, match=r"cut off or damaged"):
        read(tmp_path, PNEUMONIA, 28)


def test_a_cut_npz_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pneumoniamnist.npz"
    np.savez(path, **pneumonia())
    whole = path.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 20).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"pneumoniamnist\.npz is not as its authors publish it"):
            read(tmp_path, PNEUMONIA, 28)
    altered = bytearray(whole)
    altered[200] ^= 1
    path.write_bytes(altered)
    with pytest.raises(DataError, match=r"cut off or damaged"):
        read(tmp_path, PNEUMONIA, 28)


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_where_nothing_is_nothing_is_found(benchmark: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / benchmark.files[0].name).mkdir()
    assert find_files(tmp_path, benchmark, benchmark.sizes[0]) is None
    assert find_files(tmp_path / "notes.txt", benchmark, benchmark.sizes[0]) is None
    assert all(file.url.startswith("https://") for file in benchmark.files)
    assert all(len(file.known_hash) in (len("sha256:") + 64, len("md5:") + 32) for file in benchmark.files)


def test_a_misspelt_benchmark_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'tiny-imagenet'\?"):
        find_benchmark("tiny_imagenet")
