"""`make bench`: time, memory and error of the exact gradient beside naive autograd and a first-order one, and the speed
of what feeds it.

Each figure is measured in a process of its own, so that peak memory means something; figures that are compared are
taken in turn in one run, since a shared machine drifts.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from medistill.workflow.environment import hardware, versions
from tests.bench.parts import in_own_process, in_turn
from tests.bench.ways import WAYS

TIMED_STEPS = {"ipc10": 3, "ipc1": 20}
"""Inner steps that are timed; memory and error are those of the setting's full J."""
NAMES = {"ipc10": "IPC 10, J = 20", "ipc1": "IPC 1, J = 50"}
TARGETS = {
    "IPC 10, J = 20: reverse / naive, time": "<= 0.78",
    "IPC 10, J = 20: reverse / naive, memory growth": "<= 0.04",
    "IPC 1, J = 50: reverse / naive, time": "<= 1.0",
    "IPC 1, J = 50: reverse / naive, memory growth": "<= 0.125",
    "error of the image gradient, fp64, J = 50": "<= 1e-12",
    "error of the image gradient, fp32, J = 20": "<= 1e-6",
    "experts: micro-batches / the field's loop, images/s": ">= 2",
    "experts: micro-batches / one batch, images/s": ">= 1.7",
    "corpus read, 256 px images/s": ">= 15000",
    "DICOM decoding, two workers / one": "> 1",
}


def gradients(console: Console, ways: list[str], rounds: int) -> dict[str, float]:
    """Print the table of ways and settings; return the figures that have a target."""
    headings = ("setting", "way", "s per inner step", "/ naive", "memory growth MB", "/ naive")
    table = Table(*headings, "off naive", "off fp64")
    targets = {}
    for setting, name in NAMES.items():
        steps = str(TIMED_STEPS[setting])
        seconds = in_turn(
            rounds, {way: partial(in_own_process, "time", way, setting, steps) for way in ways}, "seconds"
        )
        with tempfile.TemporaryDirectory() as folder:
            growth = {way: in_own_process("memory", way, setting, folder)["growth_mb"] for way in ways}
            in_own_process("truth", setting, folder)
            found = {way: np.load(Path(folder) / f"{way}-{setting}.npy") for way in [*ways, "truth"]}
        for way in ways:
            off = [np.linalg.norm(found[way] - one) / np.linalg.norm(one) for one in (found["naive"], found["truth"])]
            relative = (seconds[way] / seconds["naive"], growth[way] / growth["naive"])
            memory = ("-", "-") if way == "compiled" else (f"{growth[way]:.0f}", f"{relative[1]:.3f}")
            table.add_row(
                name, way, f"{seconds[way]:.4f}", f"{relative[0]:.2f}", *memory, *(f"{error:.1e}" for error in off)
            )
            if way == "reverse":
                targets[f"{name}: reverse / naive, time"] = relative[0]
                targets[f"{name}: reverse / naive, memory growth"] = relative[1]
    console.print(table)
    return targets


def experts(console: Console, rounds: int) -> dict[str, float]:
    """Print the speed of expert training; return the figure that has a target."""
    speed = in_turn(
        rounds,
        {
            "the field's loop": partial(in_own_process, "field"),
            "one batch": partial(in_own_process, "experts", "256", "0"),
            "micro-batches": partial(in_own_process, "experts", "0", "0"),
            "sharpness-aware": partial(in_own_process, "experts", "0", "0.01"),
        },
        "images_per_second",
    )
    table = Table("expert training at batch 256", "images/s", "/ the field's loop", "/ one batch")
    relative = {
        name: [figure / speed[of] for of in ("the field's loop", "one batch")] for name, figure in speed.items()
    }
    for name, figure in speed.items():
        table.add_row(name, f"{figure:.0f}", *(f"{one:.2f}" for one in relative[name]))
    console.print(table)
    names = ("experts: micro-batches / the field's loop, images/s", "experts: micro-batches / one batch, images/s")
    return dict(zip(names, relative["micro-batches"], strict=True))


def methods(console: Console) -> None:
    """Print what an outer step of every method costs."""
    seconds = in_own_process("methods")
    table = Table("method, small setting", "s per outer step", "/ MTT")
    for method, figure in seconds.items():
        table.add_row(method, f"{figure:.3f}", f"{figure / seconds['mtt']:.2f}")
    console.print(table)


def corpus() -> dict[str, float]:
    """The figures of reading that have a target."""
    found = in_own_process("corpus")
    return {
        "corpus read, 256 px images/s": found["read"],
        "DICOM decoding, two workers / one": found["workers_2"] / found["workers_1"],
    }


def main(rounds: int) -> None:
    """Measure everything and print it."""
    console = Console(width=120)
    console.print(f"{hardware('cpu')}; " + ", ".join(f"{name} {version}" for name, version in versions().items()))
    ways = [way for way in WAYS if way != "compiled" or shutil.which("g++")]
    values = gradients(console, ways, rounds)
    error = in_own_process("error")
    values["error of the image gradient, fp64, J = 50"] = error["fp64"]
    values["error of the image gradient, fp32, J = 20"] = error["fp32"]
    values |= experts(console, rounds)
    methods(console)
    values |= corpus()
    table = Table("figure", "measured", "target")
    for name, target in TARGETS.items():
        table.add_row(name, f"{values[name]:.3g}", target)
    console.print(table)
    console.print(
        "Gradient: ConvNet-3 width 128, ten classes of 3 x 32 x 32, all DSA operations, fp32; the two rows of error: "
        "width 32, 20 images. Methods: width 32, two classes at IPC 5, J = 10. Seed 0."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="times that everything compared is taken in turn")
    main(parser.parse_args().rounds)
