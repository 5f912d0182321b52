"""Time and memory of optimal quantisation by principal components, on phantom corpora of growing size.

    python -m tests.bench.quantisation --images 10000 100000 --size 112 --ipc 10

Each corpus is measured in fresh processes: one does the parts one after the other, one the whole as `medistill distill`
does it, with the diagnostics of the report. Peak memory is the growth over what the imports took: all resident pages
(ru_maxrss), and those that are the process's own; the difference is pages of the mapped files, which the system takes
back when it needs them. The last lines are the same figures as JSON, one object a corpus.

The images are not N drawings, which would take hours: 300 phantoms are drawn, and every image is one of them under a
shift of up to 6 % of its side, a gain, an offset and noise of its own. A patient has three images of one phantom.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from medistill.artifacts.corpus import NOT_STATED, Corpus, load_corpus
from medistill.data.phantom_drawing import FINDINGS, Exposure, Habitus, draw_phantom
from medistill.methods.quantising.quantise import quantise as quantise_corpus
from medistill.networks.registry import network_spec
from medistill.progress import Silent
from medistill.quantisation.cells import quantise
from medistill.quantisation.codes import decoded, encode
from medistill.quantisation.pca import fit_pca
from medistill.recipe import Recipe, load_recipe
from medistill.recipe.method import quantisation_of
from medistill.recipe.quantise import CentroidsRecipe
from medistill.training.context import Context
from medistill.workflow.environment import hardware, versions
from tests.factories.flat_corpus import save_flat

PHANTOMS = 300
IMAGES_A_PATIENT = 3
IMPORTED_LATER = ("sklearn.cluster", "scipy.optimize", "scipy.spatial.distance", "threadpoolctl")
"""What the quantiser imports when it is called; here before, so that neither time nor memory counts it."""
PARTS = ("fit", "encode", "quantise", "decode")


def drawn(size: int) -> np.ndarray:
    """The phantoms float32 (PHANTOMS, size, size), 0 to 1; the classes take turns."""
    told = []
    for number in range(PHANTOMS):
        rng = np.random.default_rng([0, number])
        habitus, exposure = Habitus.draw(rng, sex=("F", "M")[number % 2]), Exposure.draw(rng, supine=number % 4 == 0)
        finding = FINDINGS[number % len(FINDINGS)]
        told.append(draw_phantom(habitus, exposure, finding, 0.8, size, np.random.default_rng([1, number]), rng))
    return np.stack(told)


def varied(phantoms: np.ndarray, rows: range) -> Iterator[np.ndarray]:
    """Images uint8 (1, size, size): each from its number alone, so that a smaller corpus begins a larger one."""
    size = phantoms.shape[1]
    for row in rows:
        rng = np.random.default_rng([2, row])
        most = max(1, size * 6 // 100)
        shifted = np.roll(phantoms[row // IMAGES_A_PATIENT % PHANTOMS], rng.integers(-most, most + 1, 2), (0, 1))
        noise = rng.standard_normal(shifted.shape, np.float32)
        grey = rng.uniform(0.8, 1.2) * shifted + rng.uniform(-0.05, 0.05) + 0.02 * noise
        yield np.clip(255 * grey + 0.5, 0, 255).astype(np.uint8)[None]


def write_corpus(folder: Path, count: int, size: int) -> Path:
    """Write the corpus, image by image, and give its folder."""
    phantoms = drawn(size)
    images = np.lib.format.open_memmap(folder / "drawn.npy", "w+", np.uint8, (count, 1, size, size))
    for row, image in enumerate(varied(phantoms, range(count))):
        images[row] = image
    patients = np.arange(count) // IMAGES_A_PATIENT
    corpus = save_flat(
        folder,
        images=images,
        labels=(patients % PHANTOMS % len(FINDINGS)).tolist(),
        groups=patients.tolist(),
        splits=[0] * count,
        class_names=FINDINGS,
        site_names=[NOT_STATED],
    )
    (folder / "drawn.npy").unlink()
    return corpus.path


class Own:
    """The largest amount of memory, in MB, that was this process's own, looked at fifty times a second."""

    def __init__(self) -> None:
        self.peak, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            self.peak = max(self.peak, self.now())

    @staticmethod
    def now() -> float:
        """Resident anonymous memory in MB."""
        with Path("/proc/self/status").open(encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024

    def end(self) -> float:
        """Stop looking."""
        self._ended.set()
        self._thread.join()
        return self.peak


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def recipe_of(corpus: Corpus, ipc: int) -> Recipe:
    """The shipped recipe at the corpus's size."""
    return load_recipe("covid-xray-ddoq", [f"data.image_size={corpus.images.shape[-1]}", f"method.ipc={ipc}"])


def measure_parts(corpus: Corpus, ipc: int, folder: Path) -> dict[str, float]:
    """Seconds of each part, all classes together."""
    settings, place, taken = (
        quantisation_of(recipe_of(corpus, ipc).method),
        torch.device("cpu"),
        dict.fromkeys(PARTS, 0.0),
    )
    assert isinstance(settings, CentroidsRecipe), "the shipped recipe quantises principal components"
    rows, batch, shape = corpus.rows("train"), settings.batch_size, corpus.images.shape[1:]

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        taken[part] += time.perf_counter() - started

    def quiet(_: int) -> None: ...

    with timed("fit"):
        space = fit_pca(
            corpus.images, rows, components=settings.components, batch=batch, seed=0, device=place, tick=quiet
        )
    for c, name in enumerate(corpus.class_names):
        some = rows[corpus.labels[rows] == c]
        with timed("encode"):
            codes = encode(corpus.images, some, space, batch=batch, path=folder / "codes.npy", device=place, tick=quiet)
        with timed("quantise"):
            cells = quantise(
                codes,
                corpus.groups[some],
                ipc,
                name=name,
                least=settings.min_cluster_size,
                passes=settings.passes,
                refine=settings.refine,
                batch=batch,
                seed=0,
                tick=quiet,
            )
        with timed("decode"):
            decoded(space, cells.centres, batch=batch, shape=shape, device=place)
    return taken


def measure_whole(corpus: Corpus, ipc: int, folder: Path) -> dict[str, float]:
    """Seconds of everything up to the decoded centroids and their diagnostics."""
    started = time.perf_counter()
    recipe = recipe_of(corpus, ipc)
    context = Context(corpus, recipe, network_spec(corpus, recipe), torch.device("cpu"), folder, Silent())
    quantise_corpus(context, range(len(corpus.class_names)))
    return {"whole": time.perf_counter() - started}


def in_own_process(what: str, *words: str) -> Any:
    """What this module prints as JSON when it is called so in a fresh Python."""
    command = [sys.executable, "-m", "tests.bench.quantisation", "--measure", what, *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured(what: str, corpus: Path, ipc: int, folder: Path) -> dict[str, float]:
    """One measurement in this process, with its memory."""
    for module in IMPORTED_LATER:
        import_module(module)
    given, before, own_before = load_corpus(corpus), peak_mb(), Own.now()
    own = Own()
    taken = (measure_parts if what == "parts" else measure_whole)(given, ipc, folder)
    return {
        **{part: round(seconds, 3) for part, seconds in taken.items()},
        "peak_mb": round(peak_mb() - before, 1),
        "own_mb": round(own.end() - own_before, 1),
    }


def main(counts: list[int], size: int, ipc: int, folder: Path) -> None:
    """Measure every corpus and print the table."""
    console, found = Console(width=120), []
    console.print(f"{hardware('cpu')}; " + ", ".join(f"{name} {version}" for name, version in versions().items()))
    for count in counts:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            words = ["--images", str(count), "--size", str(size), "--ipc", str(ipc), "--folder", scratch]
            corpus = in_own_process("write", *words)["corpus"]
            parts, whole = (in_own_process(what, *words, "--corpus", corpus) for what in ("parts", "whole"))
        memory = {f"{of}_{name}": told[name] for of, told in (("parts", parts), ("whole", whole)) for name in told}
        found.append({"images": count, "size": size, "ipc": ipc, **memory})
    table = Table("images", *(f"{part} s" for part in PARTS), "sum s", "parts MB (own)", "whole s", "whole MB (own)")
    for one in found:
        seconds = [one[f"parts_{part}"] for part in PARTS]
        memory = {of: f"{one[f'{of}_peak_mb']:.0f} ({one[f'{of}_own_mb']:.0f})" for of in ("parts", "whole")}
        told = [f"{value:.2f}" for value in (*seconds, sum(seconds))]
        table.add_row(f"{one['images']:,}", *told, memory["parts"], f"{one['whole_whole']:.2f}", memory["whole"])
    console.print(table)
    for one in found:
        sys.stdout.write(json.dumps(one) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--size", type=int, default=112, help="height and width in pixels")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="for the corpora; emptied after"
    )
    parser.add_argument("--measure", choices=["write", "parts", "whole"], help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure == "write":
        told = {"corpus": str(write_corpus(asked.folder, asked.images[0], asked.size))}
        sys.stdout.write(json.dumps(told) + "\n")
    elif asked.measure:
        sys.stdout.write(json.dumps(measured(asked.measure, asked.corpus, asked.ipc, asked.folder)) + "\n")
    else:
        main(asked.images, asked.size, asked.ipc, asked.folder)
