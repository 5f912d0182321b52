"""`make bench`: time, memory and error of the exact gradient beside naive autograd, and the speed of what feeds it.

Each figure is measured in a process of its own, so that peak memory means something; figures that are compared are
taken in turn in one run, since a shared machine drifts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from medistill.engine.matching import match
from medistill.engine.student import Student
from medistill.engine.unroll import adjoint, unroll
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import NetworkRecipe, Recipe, validate_recipe
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, train
from medistill.training.randomness import generator
from medistill.workflow.environment import hardware, versions
from tests.naive_unroll import naive_gradient, problem

CIFAR_IPC10 = {"width": 128, "channels": 3, "size": 32, "count": 100, "depth": 3}
"""ConvNet-3 of width 128 on 100 images of 3 x 32 x 32: ten classes at ten images per class."""
TARGETS = {
    "exact / naive, time": "<= 0.85",
    "exact / naive, memory growth at J = 20": "<= 0.067",
    "error of the image gradient, fp64": "<= 1e-12",
    "error of the image gradient, fp32": "<= 1e-6",
    "experts: micro-batches / one batch, images/s": ">= 1.5",
    "corpus read, 256 px images/s": ">= 15000",
    "DICOM decoding, two workers / one": "> 1",
}


def exact(network, segment, images, alpha):
    """Loss and exact gradient as the outer loop takes them."""
    student = Student(network)
    size, channels = images.pixels.shape[-1], images.pixels.shape[1]
    micro_batch = micro_batch_size(network, channels, size)
    thetas = unroll(student, images, alpha, segment, micro_batch=micro_batch)
    sizes = torch.tensor([p.numel() for p in network.parameters()])
    matched = match(thetas[-1], segment, torch.ones(len(sizes), dtype=images.pixels.dtype), sizes)
    return adjoint(student, images, alpha, segment, thetas, matched.lambda_end, micro_batch=micro_batch).images


def naive(network, segment, images, alpha):
    """The same by automatic differentiation through the whole loop."""
    return naive_gradient(network, segment, images, alpha)[1]


WAYS: dict[str, Callable] = {"naive": naive, "exact": exact}


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_memory(way: str, steps: int) -> dict[str, float]:
    """Growth of peak memory over one gradient."""
    made = problem(torch.float32, steps=steps, **CIFAR_IPC10)
    WAYS[way](*problem(torch.float32, steps=1, **{**CIFAR_IPC10, "count": 2}), 0.01)
    before = peak_mb()
    WAYS[way](*made, 0.01)
    return {"growth_mb": peak_mb() - before}


def measure_time(steps: int = 5, rounds: int = 3) -> dict[str, float]:
    """Median seconds per inner step of either way, taken in turn."""
    made = problem(torch.float32, steps=steps, **CIFAR_IPC10)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds + 1):
        for way, work in WAYS.items():
            started = time.perf_counter()
            work(*made, 0.01)
            seconds[way].append((time.perf_counter() - started) / steps)
    return {way: statistics.median(taken[1:]) for way, taken in seconds.items()}


def measure_error() -> dict[str, float]:
    """Relative error of the image gradient against naive autograd."""
    errors = {}
    for name, dtype in (("fp64", torch.float64), ("fp32", torch.float32)):
        made = problem(dtype, width=32, channels=3, size=32, count=20, steps=5, depth=3)
        reference = naive(*made, 0.01)
        errors[name] = float((exact(*made, 0.01) - reference).norm() / reference.norm())
    return errors


def measure_experts(count: int = 2048, rounds: int = 3) -> dict[str, float]:
    """Median images/s of expert training, one batch of 256 in one piece and in micro-batches, taken in turn."""
    spec = NetworkSpec(NetworkRecipe(width=128, depth=3), 3, 32, 10)
    numbers = generator(0, "bench")
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=numbers, dtype=torch.uint8)
    one = torch.ones(1, 3, 1, 1)
    data = LabelledImages(images, torch.arange(count) % 10, torch.ones(count), one / 64, -2 * one)
    own = micro_batch_size(build_network(spec, numbers), 3, 32)
    speeds: dict[str, list[float]] = {"whole": [], "micro": []}
    for _ in range(rounds + 1):
        for name, micro_batch in (("whole", 256), ("micro", own)):
            network = build_network(spec, generator(0, "network"))
            started = time.perf_counter()
            train(network, data, Schedule(1, 256, 0.01), Recipe().augmentation, generator(0), micro_batch=micro_batch)
            speeds[name].append(count / (time.perf_counter() - started))
    return {**{name: statistics.median(taken[1:]) for name, taken in speeds.items()}, "micro_batch": own}


def measure_corpus(patients: int = 150) -> dict[str, float]:
    """Seconds to decode DICOM files with one worker and with two, and images/s of the cached corpus at 256 px."""
    from medistill.data.phantom import write_phantom
    from medistill.workflow.prepare import prepare

    recipe = validate_recipe({"data": {"image_size": 256}}, "bench")
    with tempfile.TemporaryDirectory() as folder:
        files = write_phantom(Path(folder) / "phantom", patients=patients, size=1024)
        taken = {}
        for workers in (1, 2):
            os.environ["MEDISTILL_CACHE"] = str(Path(folder) / f"cache{workers}")
            started = time.perf_counter()
            corpus = prepare(Path(folder) / "phantom", recipe, workers=workers)
            taken[f"workers_{workers}"] = files / (time.perf_counter() - started)
        started, read = time.perf_counter(), 0
        order = np.random.default_rng(0).permutation(len(corpus.images))
        while time.perf_counter() - started < 2:
            for rows in np.array_split(order, max(1, len(order) // 256)):
                read += len(torch.from_numpy(corpus.images[rows]))
        return {**taken, "files": files, "read": read / (time.perf_counter() - started)}


PARTS: dict[str, Callable[..., dict[str, float]]] = {
    "memory": lambda way, steps: measure_memory(way, int(steps)),
    "time": measure_time,
    "error": measure_error,
    "experts": measure_experts,
    "corpus": measure_corpus,
}


def in_own_process(part: str, *arguments: str) -> dict[str, float]:
    """Measure a part in a fresh Python."""
    command = [sys.executable, "-m", "tests.bench.engine", "--part", part, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure everything and print one table."""
    console = Console(width=120)
    console.print(f"{hardware('cpu')}; " + ", ".join(f"{name} {version}" for name, version in versions().items()))
    seconds, error = in_own_process("time"), in_own_process("error")
    growth = {(way, j): in_own_process("memory", way, str(j))["growth_mb"] for way in WAYS for j in (10, 20)}
    experts, corpus = in_own_process("experts"), in_own_process("corpus")
    values = {
        "exact / naive, time": seconds["exact"] / seconds["naive"],
        "exact / naive, memory growth at J = 20": growth["exact", 20] / growth["naive", 20],
        "error of the image gradient, fp64": error["fp64"],
        "error of the image gradient, fp32": error["fp32"],
        "experts: micro-batches / one batch, images/s": experts["micro"] / experts["whole"],
        "corpus read, 256 px images/s": corpus["read"],
        "DICOM decoding, two workers / one": corpus["workers_2"] / corpus["workers_1"],
    }
    details = {
        "exact / naive, time": f"{seconds['exact']:.3f} s against {seconds['naive']:.3f} s per inner step",
        "exact / naive, memory growth at J = 20": f"{growth['exact', 20]:.0f} MB against {growth['naive', 20]:.0f} MB "
        f"(J = 10: {growth['exact', 10]:.0f} against {growth['naive', 10]:.0f})",
        "experts: micro-batches / one batch, images/s": f"{experts['micro']:.0f} images/s in pieces of "
        f"{experts['micro_batch']:.0f}, {experts['whole']:.0f} whole",
        "DICOM decoding, two workers / one": f"{corpus['workers_2']:.0f} against {corpus['workers_1']:.0f} files/s "
        f"({corpus['files']:.0f} files of 1024 px, workers' start included)",
    }
    table = Table("figure", "measured", "target", "in full")
    for name, target in TARGETS.items():
        table.add_row(name, f"{values[name]:.3g}", target, details.get(name, ""))
    console.print(table)
    console.print(
        "Gradient: ConvNet-3 width 128, 100 images of 3 x 32 x 32, all DSA operations, fp32; error: width 32, "
        "20 images, J = 5. Seed 0."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("arguments", nargs="*")
    asked = parser.parse_args()
    if asked.part:
        sys.stdout.write(json.dumps(PARTS[asked.part](*asked.arguments)) + "\n")
    else:
        main()
