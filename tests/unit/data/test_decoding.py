"""Decoding: the same bytes from one process and from several, and what is left of a reading that ended early."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medistill.artifacts.atomic import private_folder
from medistill.data import radiograph, workers
from medistill.data.decoded import Decoded
from medistill.data.decoding import decode, decode_chunk
from medistill.data.radiograph import read_image
from medistill.data.staging import CHUNK, collect, keep, kept
from medistill.data.worker_process import MOST_MEMORY
from medistill.errors import ArtifactError
from medistill.progress import Silent, SilentTask
from medistill.recipe import DataRecipe

RECIPE = DataRecipe(image_size=16)
FEW = 2 * CHUNK
MANY = FEW + 10
KILLER = FEW + 6


class Watched(Silent):
    """Counts what a reading says that it did."""

    def __init__(self) -> None:
        self.total, self.before, self.advanced, self.said = 0, 0, 0, []

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        self.total, self.before = total, done
        outer = self

        class Task(SilentTask):
            def advance(self, steps: int = 1, *, figures: str = "") -> None:
                outer.advanced += steps

        return Task()

    def say(self, message: str) -> None:
        self.said.append(message)


def pictures(folder: Path, count: int) -> tuple[list[str], np.ndarray]:
    """PNG files of 32 x 48 noise, and what areas of 2 x 3 make of them."""
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (count, 32, 48), np.uint8)
    for n, pixels in enumerate(noise):
        Pillow.fromarray(pixels).save(folder / f"{n:03}.png")
    means = noise.reshape(count, 1, 16, 2, 16, 3).mean(axis=(3, 5))
    return [f"{n:03}.png" for n in range(count)], means


def read(folder: Path, files: list[str], staging: Path, workers: int, progress: Silent | None = None):
    return decode(folder, files, RECIPE, staging=staging, workers=workers, progress=progress or Watched())


@pytest.mark.parametrize(("count", "workers"), [(10, 2), (MANY, 2)])
def test_every_way_of_reading_gives_the_same_bytes_in_order(tmp_path, count, workers):
    files, means = pictures(tmp_path / "a", count)
    (tmp_path / "a" / files[3]).write_bytes(b"\x89PNG\r\n\x1a\n broken")
    decoded = read(tmp_path / "a", files, tmp_path / "staging", workers)
    assert [n for n, one in enumerate(decoded) if one.category] == [3]
    accepted = [n for n in range(count) if n != 3]
    pixels = collect(tmp_path / "staging", accepted, (1, 16, 16))
    assert np.abs(pixels - means[accepted]).max() <= 0.5 + 1e-3
    some = [0, 2, 5, count - 1]
    np.testing.assert_array_equal(
        collect(tmp_path / "staging", some, (1, 16, 16)), pixels[[accepted.index(n) for n in some]]
    )
    alone = read(tmp_path / "a", files[-5:], tmp_path / "alone", 1)
    np.testing.assert_array_equal(collect(tmp_path / "alone", range(5), (1, 16, 16)), pixels[-5:])
    assert [one.fingerprint for one in alone] == [one.fingerprint for one in decoded[-5:]]


def test_an_interrupted_reading_goes_on_from_whole_chunks(tmp_path):
    files, _ = pictures(tmp_path / "a", FEW)
    first = read(tmp_path / "a", files, tmp_path / "staging", 1)
    whole = np.array(collect(tmp_path / "staging", range(FEW), (1, 16, 16)))
    chunk = tmp_path / "staging" / f"{CHUNK}.safetensors"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\0")
    progress = Watched()
    assert read(tmp_path / "a", files, tmp_path / "staging", 1, progress) == first
    assert (progress.before, progress.advanced) == (CHUNK, FEW - CHUNK)
    np.testing.assert_array_equal(collect(tmp_path / "staging", range(FEW), (1, 16, 16)), whole)


@pytest.mark.parametrize("damage", [lambda b: b[:50], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""])
def test_a_damaged_chunk_is_never_used(tmp_path, damage):
    staging = private_folder(tmp_path / "staging")
    decoded = [Decoded(np.full((1, 4, 4), 7, np.uint8), "f"), Decoded(None, category="empty", reason="it is")]
    without = keep(staging, 0, decoded)
    assert kept(staging, 0, 2) == without
    assert kept(staging, 0, 3) is None
    assert kept(staging, 32, 2) is None
    path = staging / "0.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    assert kept(staging, 0, 2) is None
    with pytest.raises(ArtifactError):
        collect(staging, [0], (1, 4, 4))


def workers_of_this_process() -> list[int]:
    """Processes that this one has started to decode: whose parent it is, whichever of its threads started them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # processes come and go while they are listed
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"medistill.data.worker_process" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def holds(process: int, folder: Path) -> bool:
    """Whether a process has the pipe in the folder open."""
    with contextlib.suppress(OSError):
        return any(file.readlink() == folder / f"{KILLER:03}.png" for file in Path(f"/proc/{process}/fd").iterdir())
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="finds its worker processes under /proc")
def test_a_file_that_kills_its_process_is_refused_and_the_others_are_read(tmp_path):
    """A pipe holds the worker that opens it until that worker is killed, twice: in the pool, and alone."""
    files, means = pictures(tmp_path / "a", MANY)
    os.remove(tmp_path / "a" / files[KILLER])
    os.mkfifo(tmp_path / "a" / files[KILLER])
    kills, over = [], threading.Event()

    def kill_whoever_opens_it() -> None:
        while not over.is_set():
            try:
                writer = os.open(tmp_path / "a" / files[KILLER], os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody has opened it for reading yet
                time.sleep(0.02)
                continue
            while not (holders := [one for one in workers_of_this_process() if holds(one, tmp_path / "a")]):
                time.sleep(0.02)  # others may not be ready yet: one that ends then is another matter
            kills.append(holders)
            for worker in holders:
                os.kill(worker, signal.SIGKILL)
            left = select.poll()
            left.register(writer, 0)
            left.poll(10_000)  # an error: nobody reads any more; killed processes may take their time
            os.close(writer)

    killer = threading.Thread(target=kill_whoever_opens_it)
    killer.start()
    try:
        decoded = read(tmp_path / "a", files, tmp_path / "staging", 2)
    finally:
        over.set()
        killer.join()
    assert len(kills) == 2
    assert {n: one.category for n, one in enumerate(decoded) if one.category} == {KILLER: "decoder crashed"}
    others = [n for n in range(MANY) if n != KILLER]
    assert np.abs(collect(tmp_path / "staging", others, (1, 16, 16)) - means[others]).max() <= 0.5 + 1e-3


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no timer of processor time")
def test_a_file_that_takes_a_processor_for_minutes_is_refused_and_the_others_are_read(tmp_path, monkeypatch):
    """A small progressive JPEG whose scans change nothing: each is a pass over 20 million pixels."""
    monkeypatch.setattr(workers, "_idle", deque())
    quick = "import medistill.data.worker_process as process; process.MOST_SECONDS = 1.0; process.serve()"
    monkeypatch.setattr(workers, "_START", f"import sys; sys.path[:] = sys.argv[1:]; {quick}")
    files, means = pictures(tmp_path / "a", 3)
    (tmp_path / "a" / files[1]).write_bytes(scans_without_end(4500, 100_000))
    decoded = read(tmp_path / "a", files, tmp_path / "staging", 1)
    assert [one.category for one in decoded] == ["", "decoder crashed", ""]
    assert np.abs(collect(tmp_path / "staging", [0, 2], (1, 16, 16)) - means[[0, 2]]).max() <= 0.5 + 1e-3
    while workers._idle:  # not for the tests that follow
        workers._idle.pop().end()


def scans_without_end(side: int, scans: int) -> bytes:
    """A progressive JPEG of one flat block after another, whose AC coefficients are sent as zero again and again."""

    def segment(marker: int, data: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data

    blocks = (-(-side // 8)) ** 2
    one_code = bytes([1] + 15 * [0])
    start = b"\xff\xd8" + segment(0xDB, b"\0" + bytes(64 * [1]))
    start += segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0]))
    start += segment(0xC4, b"\x00" + one_code + b"\x00") + segment(0xC4, b"\x10" + one_code + b"\xe0")
    first = segment(0xDA, bytes([1, 1, 0x00, 0, 0, 0])) + bytes(-(-blocks // 8))
    empty = segment(0xDA, bytes([1, 1, 0x00, 1, 63, 0])) + bytes(-(-blocks // 2**14) * 2 + 4)  # runs of 2^14 blocks
    return start + first + scans * empty + b"\xff\xd9"


def test_a_worker_whose_parent_is_gone_before_it_is_ready_ends_quietly():
    """Its parent is killed while it loads what it needs: nobody is there to be told, and its words would hold paths."""
    reading, writing = os.pipe()
    os.close(reading)
    worker = subprocess.run(
        [sys.executable, "-c", workers._START, *map(str, sys.path)],
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    os.close(writing)
    assert (worker.returncode, worker.stderr) == (0, b"")


def test_a_script_without_a_guard_reads_in_workers_too(tmp_path):
    """Its own code is not run anew in them, as `multiprocessing` would; what it prints stands there once."""
    files, _ = pictures(tmp_path / "a", 3)
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from medistill.data import decoding\n"
        "from medistill.progress import Silent\n"
        "from medistill.recipe import DataRecipe\n"
        "decoding.decode_chunk = None  # nothing is decoded in this process\n"
        f"folder, staging = Path({str(tmp_path / 'a')!r}), Path({str(tmp_path / 's')!r})\n"
        f"read = decoding.decode(folder, {files}, DataRecipe(image_size=16), staging=staging, workers=1,"
        " progress=Silent())\n"
        "print(sum(1 for one in read if not one.category))\n"
    )
    told = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        timeout=120,
    )
    assert (told.returncode, told.stdout) == (0, "3\n"), told.stderr[-2000:]


@pytest.mark.skipif(
    not Path("/proc/self/statm").is_file(), reason="memory is bounded where Linux says how much there is"
)
def test_a_worker_has_a_bound_of_memory_and_leaves_no_image_of_it(tmp_path):
    files, _ = pictures(tmp_path / "a", 1)
    read(tmp_path / "a", files, tmp_path / "staging", 1)
    (worker, *_) = workers_of_this_process()
    limits = Path(f"/proc/{worker}/limits").read_text().splitlines()
    soft = {line[:26].strip(): line[26:].split()[0] for line in limits}
    data = int(Path(f"/proc/{worker}/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    assert 0 < int(soft["Max data size"]) - data <= MOST_MEMORY
    assert soft["Max core file size"] == "0"


def test_what_takes_too_much_memory_is_refused_with_its_reason(tmp_path, monkeypatch):
    files, _ = pictures(tmp_path / "a", 2)

    def greedy(path, recipe):
        if path.name == files[0]:
            raise MemoryError
        return read_image(path, recipe)

    monkeypatch.setattr(radiograph, "read_image", greedy)
    decoded = decode_chunk(tmp_path / "a", files, RECIPE)
    assert [one.category for one in decoded] == ["too much memory", ""]


def test_what_decoders_warn_of_stays_unsaid(tmp_path, caplog):
    """Warnings and logs quote headers; the switches are as before when the reading is over."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PatientName = "Invented^Person" * 30
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=False)
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + (tmp_path / "a.dcm").read_bytes())
    with caplog.at_level(logging.DEBUG):
        decoded = read(tmp_path, ["a.dcm"], tmp_path / "staging", 1)
    assert decoded[0].category
    assert "Invented" not in caplog.text + decoded[0].reason
    assert logging.root.manager.disable == logging.NOTSET
