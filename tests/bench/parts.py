"""What `make bench` measures, each part in a process of its own: ``python -m tests.bench.parts PART ARGUMENTS``."""

from __future__ import annotations

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
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.trajectories import Trajectories, open_trajectories
from medistill.engine.outer import step
from medistill.engine.problem import DistillationProblem, ValidationScore
from medistill.engine.state import State
from medistill.engine.student import Student
from medistill.method_names import method_names
from medistill.methods.matching.problem import image_labels, moving_pixels, trajectory_matching
from medistill.methods.optimising.problem import outer_settings
from medistill.methods.registry import find_method
from medistill.networks.flat import FlatParameters
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import NetworkRecipe, Recipe, validate_recipe, whole_matching
from medistill.training.augmentation import augment, draw
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, train
from medistill.training.randomness import generator
from medistill.training.stages import image_stages
from tests.bench.ways import first_steps, made, naive, ready
from tests.naive_unroll import problem


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_memory(way: str, setting: str, folder: str) -> dict[str, float]:
    """Growth of peak memory over one gradient, which is left in ``folder``."""
    given = made(setting)
    work = ready(way, given[0])
    if way != "compiled":
        small = problem(torch.float32, width=4, channels=3, size=8, count=2, depth=1, steps=1)
        ready(way, small[0])(small)
    else:
        work(first_steps(given, 1))  # compiling takes far more memory than running
        return {"growth_mb": float("nan"), **_kept(work(given), way, setting, folder)}
    before = peak_mb()
    gradient = work(given)
    return {"growth_mb": peak_mb() - before, **_kept(gradient, way, setting, folder)}


def _kept(gradient: torch.Tensor, way: str, setting: str, folder: str) -> dict[str, float]:
    np.save(Path(folder) / f"{way}-{setting}.npy", gradient.numpy())
    return {"norm": float(gradient.norm())}


def measure_truth(setting: str, folder: str) -> dict[str, float]:
    """The exact gradient of the same problem in fp64, left in ``folder`` for the fp32 ones to be held against."""
    given = made(setting, dtype=torch.float64)
    return _kept(ready("reverse", given[0])(given), "truth", setting, folder)


def measure_time(way: str, setting: str, steps: str) -> dict[str, float]:
    """Seconds per inner step, after a first step that is not counted."""
    given = made(setting, steps=int(steps))
    work = ready(way, given[0])
    work(first_steps(given, 1))
    started = time.perf_counter()
    work(given)
    return {"seconds": (time.perf_counter() - started) / int(steps)}


def measure_error() -> dict[str, float]:
    """Relative error of the image gradient against naive autograd: fp64 at J = 50, fp32 at J = 20."""
    errors = {}
    for name, dtype, steps in (("fp64", torch.float64, 50), ("fp32", torch.float32, 20)):
        given = problem(dtype, width=32, channels=3, size=32, count=20, steps=steps, depth=3)
        reference = naive(*given, Student(given[0]))
        errors[name] = float((ready("reverse", given[0])(given) - reference).norm() / reference.norm())
    return errors


def measure_experts(micro_batch: str, sharpness: str, count: int = 1024) -> dict[str, float]:
    """Images/s of expert training at batch 256, in micro-batches ("0": as medistill does), plain or flat."""
    network, data = _expert_and_images(count)
    size = micro_batch_size(network, (3, 32, 32), chosen=int(micro_batch))
    schedule = Schedule(1, 256, 0.01, sharpness=float(sharpness))

    def epoch() -> None:
        train(network, data, schedule, Recipe().augmentation, generator(0), micro_batch=size)

    return {"images_per_second": count / _second_time(epoch), "micro_batch": size}


def measure_field(count: int = 1024) -> dict[str, float]:
    """Images/s of an expert's epoch as MTT's reference code walks it (``epoch`` in its utils.py): PyTorch's own layers
    and optimiser, a batch of 256 at once, memory as it comes. The images are normalised beforehand and picked by one
    index, which its data loader does one by one; the augmentation is the same as ours."""
    network, data = _expert_and_images(count)
    images, augmentation = data.batch(slice(0, count)), Recipe().augmentation
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)

    def epoch() -> None:
        numbers = generator(0)
        for rows in torch.randperm(count, generator=numbers).split(256):
            drawn = draw(augmentation, len(rows), numbers, rows.device)
            loss = F.cross_entropy(network(augment(images[rows], drawn)), data.labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return {"images_per_second": count / _second_time(epoch)}


def _expert_and_images(count: int) -> tuple[torch.nn.Module, LabelledImages]:
    """ConvNet-3 of width 128, and random images of 3 x 32 x 32 in ten classes."""
    spec = NetworkSpec(NetworkRecipe(width=128, depth=3), 3, 32, 10)
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator(0, "bench"), dtype=torch.uint8)
    one = torch.ones(1, 3, 1, 1)
    data = LabelledImages(images, torch.arange(count) % 10, torch.ones(count), one / 64, -2 * one)
    return build_network(spec, generator(0, "network")), data


def _second_time(work: Callable[[], None]) -> float:
    """Seconds of a work that is done for the second time."""
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_methods(rounds: int = 2) -> dict[str, float]:
    """Mean seconds of an outer step over a whole small run, by method; the quickest of rounds taken in turn."""
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for method in FOLLOWING:
                recipe = validate_recipe({**SMALL_RUN, "method": {**SMALL_RUN["method"], "name": method}}, "bench")
                state, problem = _outer_problem(recipe, Path(folder))
                started = time.perf_counter()
                for _ in range(problem.settings.iterations):
                    step(state, problem)
                taken = (time.perf_counter() - started) / problem.settings.iterations
                seconds[method] = min(taken, seconds.get(method, taken))
    return seconds


FOLLOWING = [name for name in method_names() if find_method(name).needs == "experts"]
"""Methods with outer steps on the trajectories of experts."""
SMALL_RUN: dict[str, dict[str, Any]] = {
    "data": {"image_size": 32},
    "network": {"depth": 3, "width": 32},
    "method": {
        "experts": {"count": 1, "epochs": 6},
        "ipc": 5,
        "iterations": 5,
        "syn_steps": 10,
        "max_start_epoch": 5,
        "image_lr": 1.0,
    },
}
"""ConvNet-3 of width 32, two classes at five images of 32 x 32 pixels, J = 10; an outer step for each stage of PDD."""


def _outer_problem(recipe: Recipe, folder: Path) -> tuple[State, DistillationProblem]:
    """Random images, and a random walk of the parameters for an expert."""
    device = torch.device("cpu")
    network = build_network(NetworkSpec(recipe.network, 1, recipe.data.image_size, 2), generator(0))
    store = _random_walk(network, recipe, folder)
    labels = torch.arange(2).repeat_interleave(recipe.method.ipc)
    start = torch.randn(len(labels), 1, recipe.data.image_size, recipe.data.image_size, generator=generator(0, "x"))
    one_hot = F.one_hot(labels, 2).float()
    whole = whole_matching(recipe.method)
    problem = DistillationProblem(
        settings=outer_settings(whole),
        objective=trajectory_matching(recipe, Student(network), store, recipe.augmentation, device),
        parameterisation=moving_pixels(whole, start),
        labels=image_labels(whole, one_hot, 2 * one_hot if whole.labels == "soft" else None),
        stage=image_stages([recipe.method.ipc] * 2, whole.stages),
        precision="fp32",
        validate=lambda images, values, iteration: ValidationScore(0.0, 0.0),
        save=lambda state: None,
    )
    state = State.start(problem.coordinates)
    state.micro_batch = micro_batch_size(network, (1, recipe.data.image_size, recipe.data.image_size))
    return state, problem


def _random_walk(network: torch.nn.Module, recipe: Recipe, folder: Path) -> Trajectories:
    flat, epochs = FlatParameters(network), whole_matching(recipe.method).experts.epochs
    meta = {
        "key": "walk",
        "count": 1,
        "epochs": epochs,
        "names": list(flat.names),
        "shapes": [list(shape) for shape in flat.shapes],
        "normalisation": Normalisation((0.5,), (0.25,)).as_json(),
    }
    store = open_trajectories(folder / "experts", meta)
    steps = np.random.default_rng(0).standard_normal((epochs + 1, store.parameters), np.float32)
    store.save_expert(0, flat.values.numpy() + 0.01 * steps.cumsum(axis=0))
    return store


def measure_corpus(patients: int = 150) -> dict[str, float]:
    """Files/s of DICOM decoding with one worker and with two, and images/s of the cached corpus at 256 px."""
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
    "memory": measure_memory,
    "truth": measure_truth,
    "time": measure_time,
    "error": measure_error,
    "experts": measure_experts,
    "field": measure_field,
    "methods": measure_methods,
    "corpus": measure_corpus,
}


def in_own_process(part: str, *arguments: str) -> dict[str, float]:
    """Measure a part in a fresh Python."""
    command = [sys.executable, "-m", "tests.bench.parts", part, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def in_turn(rounds: int, works: dict[str, Callable[[], dict[str, float]]], figure: str) -> dict[str, float]:
    """Median of a figure for every work, the works taken one after the other in each round."""
    seen: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            seen[name].append(work()[figure])
    return {name: statistics.median(values) for name, values in seen.items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(PARTS[sys.argv[1]](*sys.argv[2:])) + "\n")
