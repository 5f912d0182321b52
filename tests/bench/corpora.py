"""Memory and speed of what reads a whole corpus, by the number of its images.

    python -m tests.bench.corpora [--images 1000 10000] [--size 64] [--prepared 1000] [--stages "an epoch" ...]

A corpus is made of a few phantoms, each image with noise of its own, and every stage of `tests.bench.corpora_stages`
runs in a process of its own, on one thread. Unmapped memory is the highest RssAnon of /proc/self/status, read every 20
ms, above what the process had when the stage began: what the kernel cannot take back. VmHWM is the peak of all that is
resident, pages of mapped files and the libraries with it. `prepare` reads as many PNG files, at most `--prepared`, with
one worker, whose time is in the figures and whose memory is not. "A probe" finds the features that "encoding" left.
Needs Linux. Markdown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow

from medistill.artifacts.corpus import save_corpus
from medistill.artifacts.corpus_columns import Columns, CorpusFacts
from medistill.data.phantom_drawing import FINDINGS, Exposure, Habitus, draw_phantom
from tests.bench.corpora_stages import STAGES

DRAWN, NOISE, BLOCK, EVERY = 12, 6, 256, 0.02
"""Phantoms that are drawn; grey levels of the noise; images made at once; seconds between two looks at memory."""
HEAD = "| stage | images | a processor-second | unmapped, MiB | VmHWM, MiB |\n|---|---|---|---|---|\n"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--prepared", type=int, default=1000)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sys.stdout.write(f"{asked.size} x {asked.size} pixels, one thread\n\n{HEAD}")
    for count in asked.images:
        with tempfile.TemporaryDirectory() as folder:
            corpus = made(folder, count, asked.size)
            for stage in asked.stages:
                number = min(count, asked.prepared) if stage == "prepare" else count
                at = files(Path(folder), number, asked.size) if stage == "prepare" else corpus
                seconds, unmapped, peak = in_a_process(stage, at, Path(folder) / "cache")
                sys.stdout.write(f"| {stage} | {number} | {number / seconds:.0f} | {unmapped:.0f} | {peak:.0f} |\n")
                sys.stdout.flush()


def in_a_process(stage: str, at: Path, cache: Path) -> tuple[float, float, float]:
    """What `measured` says of a stage, in a process of its own, which has all libraries already.

    Raises:
        RuntimeError: it failed, or was killed.
    """
    ours, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)
    with ours:
        child = multiprocessing.get_context("fork").Process(target=_child, args=(stage, at, cache, theirs))
        child.start()
        theirs.close()
        try:
            found: tuple[float, float, float] = ours.recv()
        except EOFError:
            raise RuntimeError(f"stage {stage} ended without figures") from None
        child.join()
    return found


def _child(stage: str, at: Path, cache: Path, told: Connection) -> None:
    os.environ["MEDISTILL_CACHE"] = str(cache)
    told.send(measured(STAGES[stage], at))


def drawn(size: int) -> list[np.ndarray]:
    """A few phantoms, uint8 (size, size), the classes in turn."""
    rng = np.random.default_rng(0)
    found = []
    for n in range(DRAWN):
        who, how = Habitus.draw(rng, sex="F"), Exposure.draw(rng, supine=False)
        grey = draw_phantom(who, how, FINDINGS[n % len(FINDINGS)], 0.5, size, rng, rng)
        found.append(np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8))
    return found


def varied(of: list[np.ndarray], start: int, count: int) -> np.ndarray:
    """Images ``start`` to ``start + count``, uint8 (count, 1, size, size): a phantom each, with noise of its own."""
    noise = np.random.default_rng([1, start]).integers(-NOISE, NOISE + 1, (count, *of[0].shape), np.int16)
    chosen = np.stack([of[n % len(of)] for n in range(start, start + count)])
    return np.clip(chosen + noise, 0, 255).astype(np.uint8)[:, None]


def made(folder: str, count: int, size: int) -> Path:
    """Write a corpus: three images a patient, a fifth validation, a fifth test."""
    of, raw = drawn(size), Path(folder) / "images.raw"
    with raw.open("wb") as handle:
        for start in range(0, count, BLOCK):
            handle.write(varied(of, start, min(BLOCK, count - start)).tobytes())
    groups = [n // 3 for n in range(count)]
    columns = Columns(
        labels=[n % len(FINDINGS) for n in range(count)],
        groups=groups,
        sites=[group % 2 for group in groups],
        splits=[(0, 0, 0, 1, 2)[group % 5] for group in groups],
        views=[""] * count,
    )
    facts = CorpusFacts(
        class_names=FINDINGS,
        site_names=("north", "south"),
        split_unit="patient",
        split_source="given",
        synthetic=True,
        notes=(),
        text_check=None,
    )
    images = np.memmap(raw, np.uint8, "r", shape=(count, 1, size, size))
    saved = save_corpus(Path(folder) / "corpora", images, columns, facts, []).path
    raw.unlink()
    return saved


def files(folder: Path, count: int, size: int) -> Path:
    """Write PNG files in folders by class."""
    of = drawn(size)
    for n in range(count):
        place = folder / "files" / FINDINGS[n % len(FINDINGS)]
        place.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(varied(of, n, 1)[0, 0]).save(place / f"{n}.png", compress_level=1)
    return folder / "files"


def measured(stage: Callable[[Path], object], at: Path) -> tuple[float, float, float]:
    """Processor seconds of a stage, MiB of unmapped memory that it added at most, and the peak of all."""
    before, over, most = status("RssAnon"), threading.Event(), [0.0]

    def watch() -> None:
        while not over.wait(EVERY):
            most[0] = max(most[0], status("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = processor_seconds()
    kept = stage(at)
    seconds = processor_seconds() - start
    most[0] = max(most[0], status("RssAnon"))
    del kept
    over.set()
    watcher.join()
    return seconds, most[0] - before, status("VmHWM")


def processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    return time.process_time() + sum(os.times()[2:4])


def status(name: str) -> float:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) / 1024


if __name__ == "__main__":
    main()
