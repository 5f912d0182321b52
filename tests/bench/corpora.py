"""Memory and speed of what reads a whole corpus, by the number of its images.

    python -m tests.bench.corpora [--images 1000 10000] [--size 64] [--prepared 1000]

A corpus is made of a few phantoms, each image with noise of its own, and every stage runs in a process of its own, on
one thread. Anonymous memory is the highest RssAnon of /proc/self/status, read every 20 ms, above what the process had
when the stage began: what the kernel cannot take back. VmHWM is the peak of all that is resident, pages of mapped
files and the libraries with it. `prepare` reads as many PNG files, at most `--prepared`, with one worker, whose own
memory is not in the figures. Needs Linux. Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow

from medistill.artifacts.corpus import Corpus, load_corpus, save_corpus
from medistill.artifacts.corpus_columns import Columns, CorpusFacts
from medistill.artifacts.normalisation import Normalisation
from medistill.data.phantom_drawing import FINDINGS, Exposure, Habitus, draw_phantom
from medistill.evaluate.protocol import random_rows
from medistill.networks.registry import NetworkSpec, build_network
from medistill.privacy.copies import compare_in, contrast_normalised, crops, windows
from medistill.recipe import AugmentationRecipe, DataRecipe, NetworkRecipe, Recipe
from medistill.training.fitted_normalisation import unwhitened
from medistill.training.images import LabelledImages, grey_of
from medistill.training.loop import Schedule, predict_logits, train
from medistill.workflow.prepare import prepare

CPU = torch.device("cpu")
DRAWN, NOISE, BLOCK, EVERY = 12, 6, 256, 0.02
"""Phantoms that are drawn; grey levels of the noise; images made at once; seconds between two looks at memory."""
QUERIES, BATCH = 10, 64
SPEC = NetworkRecipe(name="convnet", depth=3, width=8)


def main() -> None:
    """Print the table, or do one stage where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--prepared", type=int, default=1000)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--at", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.stage:
        sys.stdout.write(json.dumps(measured(STAGES[asked.stage], asked.at)) + "\n")
        return
    sys.stdout.write(f"{asked.size} x {asked.size} pixels, one thread\n\n")
    sys.stdout.write("| stage | images | images a second | anonymous, MiB | VmHWM, MiB |\n|---|---|---|---|---|\n")
    for count in asked.images:
        for stage in asked.stages:
            with tempfile.TemporaryDirectory() as folder:
                number = min(count, asked.prepared) if stage == "prepare" else count
                at = files(Path(folder), number, asked.size) if stage == "prepare" else made(folder, count, asked.size)
                command = [sys.executable, "-m", "tests.bench.corpora", "--stage", stage, "--at", str(at)]
                cache = {**os.environ, "MEDISTILL_CACHE": str(Path(folder) / "cache")}
                told = subprocess.run(command, env=cache, check=True, capture_output=True, text=True).stdout
            seconds, anonymous, peak = json.loads(told.splitlines()[-1])
            rate = number / seconds
            sys.stdout.write(f"| {stage} | {number} | {rate:.0f} | {anonymous:.0f} | {peak:.0f} |\n")
            sys.stdout.flush()


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
        sites=[0] * count,
        splits=[(0, 0, 0, 1, 2)[group % 5] for group in groups],
        views=[""] * count,
    )
    facts = CorpusFacts(
        class_names=FINDINGS,
        site_names=("north",),
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
    """Seconds of a stage, MiB of anonymous memory that it added at most, and the peak of all."""
    before, over, most = status("RssAnon"), threading.Event(), [0.0]

    def watch() -> None:
        while not over.wait(EVERY):
            most[0] = max(most[0], status("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = time.perf_counter()
    kept = stage(at)
    seconds = time.perf_counter() - start
    most[0] = max(most[0], status("RssAnon"))
    del kept
    over.set()
    watcher.join()
    return seconds, most[0] - before, status("VmHWM")


def status(name: str) -> float:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) / 1024


def read_files(at: Path) -> object:
    """`prepare` a folder of files, which has no cache yet."""
    size = Pillow.open(next(at.rglob("*.png"))).width
    recipe = Recipe(data=DataRecipe(image_size=size, burnt_in_text="unchecked"))
    return prepare(at, recipe, workers=1)


def drawn_rows(at: Path) -> object:
    """Fifty random originals of each class."""
    corpus = load_corpus(at)
    return corpus.images[random_rows(corpus, [50] * len(FINDINGS), 0, 0)]


def normalisation(at: Path) -> object:
    """Mean and deviation of the training split."""
    corpus = load_corpus(at)
    return unwhitened(corpus, Recipe())


def one_epoch(at: Path) -> object:
    """An epoch of a narrow network on the training split."""
    corpus = load_corpus(at)
    data = LabelledImages.of_split(corpus, "train", Normalisation((0.5,), (0.25,)), CPU)
    generator = torch.Generator().manual_seed(0)
    return train(network(corpus), data, Schedule(1, 256, 0.01), AugmentationRecipe(), generator, micro_batch=BATCH)


def all_probabilities(at: Path) -> object:
    """What a network says of every original."""
    corpus = load_corpus(at)
    rows = np.arange(len(corpus.images))
    data = LabelledImages.of_corpus(corpus, rows, Normalisation((0.5,), (0.25,)), CPU)
    with torch.no_grad():
        return predict_logits(network(corpus), data, micro_batch=BATCH).softmax(1)


def copies(at: Path) -> object:
    """The search for copies by pixels, of ten images beside both splits."""
    corpus = load_corpus(at)
    held_out = np.sort(np.concatenate([corpus.rows("val"), corpus.rows("test")]))
    grey = grey_of(corpus, corpus.rows("train")[:QUERIES], CPU)
    return compare_in(
        contrast_normalised(windows(grey).flatten(2)),
        corpus.rows("train"),
        held_out,
        lambda rows: contrast_normalised(crops(grey_of(corpus, rows, CPU)).flatten(1)),
        corpus.groups,
        np.full(QUERIES, -1),
        lambda rows: contrast_normalised(windows(grey_of(corpus, rows, CPU)).flatten(2)),
    )


def network(corpus: Corpus) -> torch.nn.Module:
    """A narrow network for a corpus."""
    spec = NetworkSpec(SPEC, corpus.images.shape[1], corpus.images.shape[-1], len(corpus.class_names))
    return build_network(spec, torch.Generator().manual_seed(0))


STAGES: dict[str, Callable[[Path], object]] = {
    "prepare": read_files,
    "random rows": drawn_rows,
    "normalisation": normalisation,
    "an epoch": one_epoch,
    "all probabilities": all_probabilities,
    "search for copies": copies,
}


if __name__ == "__main__":
    main()
