"""What threads that wait cost: `OMP_WAIT_POLICY=PASSIVE python -m tests.bench.waiting`, then with ACTIVE, or unset.

Sixty forward and backward passes of a narrow ConvNet on 40 images of 32 pixels, with a thread a core.
"""

from __future__ import annotations

import time

import torch
from rich.console import Console
from torch import nn


def main() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.InstanceNorm2d(32, affine=True),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 4),
    )
    images, labels = torch.randn(40, 1, 32, 32), torch.randint(0, 4, (40,))
    started, used = time.perf_counter(), time.process_time()
    for _ in range(60):
        network.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
    taken, spent = time.perf_counter() - started, time.process_time() - used
    Console().print(f"{torch.get_num_threads()} threads: {taken:.2f} s, {spent:.2f} processor seconds")


if __name__ == "__main__":
    main()
