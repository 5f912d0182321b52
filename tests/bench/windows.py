"""What a window of the unrolled loss costs: the exact adjoint beside naive autograd, and a pool beside walks anew.

    python -m tests.bench.windows [--images 20] [--windows 15,30,60,100]

Students move with momentum on images of 32 pixels and one channel, by the ConvNet of covid-xray-cpu. Each figure is
measured in a process of its own: processor seconds of the second of two equal calls, and by how much the peak of
memory grew over them. The last table has an outer step with its originals, 256 of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from medistill.allocator import keep_freed_memory
from medistill.engine.images import Images
from medistill.engine.inner_optimisers import MomentumSGD, Rates
from medistill.engine.segment import StudentSteps
from medistill.engine.student import Student
from medistill.engine.unroll import Unroll
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.augmentation import draw
from medistill.training.randomness import generator
from medistill.workflow.environment import hardware, versions
from tests.naive_students import naive_rule, naive_walk

CPU = torch.device("cpu")
RATES, OPTIMISER = Rates(0.01, 0.9), MomentumSGD(5e-4)
OUTER = {"walks anew, window 30 of 100": (35, 30), "a pool, window 15 of 200": (0, 15)}
"""An outer step -> the mean number of steps to its window, and its window."""


def measured(kind: str, count: int, window: int, before: int = 0, originals: int = 0) -> dict[str, float]:
    """Processor seconds and growth of the peak memory, in MB."""
    rng = generator(0, "bench")
    network = build_network(NetworkSpec(NetworkRecipe(depth=3, width=32), 1, 32, 2), rng)
    rows = [torch.arange(count)] * (before + window)
    steps = StudentSteps(rows, [draw(AugmentationRecipe(), count, rng, CPU) for _ in rows])
    labels = F.one_hot(torch.arange(count) % 2, 2).float()
    images = Images(torch.randn(count, 1, 32, 32, generator=rng), labels, torch.ones(count))
    theta, direction = FlatParameters(network).values.clone(), torch.randn(20_034, generator=rng)
    student = Student(build_network(NetworkSpec(NetworkRecipe(depth=3, width=32), 1, 32, 2), rng))
    unroll = Unroll(student, OPTIMISER, RATES, max(count, 32))
    more = images if not originals else Images(torch.randn(originals, 1, 32, 32, generator=rng), *_of(originals))
    at_once = StudentSteps([torch.arange(originals)], [draw(AugmentationRecipe(), max(1, originals), rng, CPU)])

    def naive() -> Tensor:
        pixels, zero = images.pixels.clone().requires_grad_(), torch.zeros_like(theta)
        rule = naive_rule(OPTIMISER, torch.tensor(RATES.alpha), torch.tensor(RATES.momentum), (zero,), 0)
        shown = Images(pixels, images.labels, images.weights)
        end = naive_walk(network, shown, theta.clone().requires_grad_(), steps, rule)
        return torch.autograd.grad(end @ direction, pixels)[0]

    def exact() -> Tensor:
        start = unroll.last(images, OPTIMISER.start(theta), steps[:before])
        states = unroll.forward(images, start, steps[before:], before)
        if originals:
            unroll.last(more, OPTIMISER.start(theta), at_once)
        return unroll.back(images, states, steps[before:], direction, before).images

    work: Callable[[], Tensor] = naive if kind == "naive" else exact
    keep_freed_memory()
    at_first, seconds = _peak(), 0.0
    for _ in range(2):
        started = time.process_time()
        work()
        seconds = time.process_time() - started
    return {"seconds": seconds, "megabytes": _peak() - at_first}


def _of(count: int) -> tuple[Tensor, Tensor]:
    return F.one_hot(torch.arange(count) % 2, 2).float(), torch.ones(count)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _apart(*arguments: object) -> dict[str, float]:
    """Measure in a fresh Python."""
    command = [sys.executable, "-m", "tests.bench.windows", "--one", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def main() -> None:
    """Measure in turn, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--windows", type=lambda text: [int(one) for one in text.split(",")], default=[15, 30, 60, 100])
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        sys.stdout.write(json.dumps(measured(asked.one[0], *map(int, asked.one[1:]))) + "\n")
        return
    console, window_table = Console(width=120), Table("window", "naive, s", "exact, s", "naive, MB", "exact, MB")
    for window in asked.windows:
        naive, exact = _apart("naive", asked.images, window), _apart("exact", asked.images, window)
        figures = [f"{one['seconds']:.2f}" for one in (naive, exact)] + [
            f"{one['megabytes']:.0f}" for one in (naive, exact)
        ]
        window_table.add_row(str(window), *figures)
    console.print(window_table)
    step_table = Table("outer step", "processor s")
    for name, (before, window) in OUTER.items():
        step_table.add_row(name, f"{_apart('exact', asked.images, window, before, 256)['seconds']:.2f}")
    console.print(step_table)
    console.print(f"{hardware('cpu')}; " + ", ".join(f"{k} {v}" for k, v in versions().items()))


if __name__ == "__main__":
    main()
