"""What an outer step of distribution matching costs beside the passes of its network.

    python -m tests.bench.distances [--images 10] [--originals 64] [--classes 4] [--size 32] [--width 32]

The passes that no such step can do without are a forward pass of all originals, and a forward and a backward pass of
all distilled images, augmented, in micro-batches of the size that a recipe would choose. A row is a distance, with the
median of its processor seconds over theirs, measured in turns: of `evaluate`, of that and of what a step draws, and of
`evaluate` over the passes and the arithmetic on features together, which of known features is measured alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from medistill.allocator import keep_freed_memory
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.images import Images
from medistill.engine.objectives.compared_features import ComparedFeatures, DrawnFeatures, Shared, slices
from medistill.engine.objectives.fourier import Fourier
from medistill.engine.objectives.mean_features import MeanFeatures
from medistill.engine.objectives.mmd import Mmd
from medistill.engine.sources.fresh import FreshNetworks
from medistill.engine.sources.originals import Originals
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.images import LabelledImages
from medistill.workflow.environment import hardware, versions
from tests.factories.flat_corpus import save_flat

CPU = torch.device("cpu")
KINDS: dict[str, type[ComparedFeatures]] = {"dm": MeanFeatures, "m3d": Mmd, "ncfm": Fourier}


def noise(folder: Path, classes: int, each: int, size: int) -> Corpus:
    """Noise, ``each`` training images a class."""
    count = classes * each
    rng = np.random.default_rng(0)
    return save_flat(
        folder,
        images=rng.integers(0, 256, (count, 1, size, size), np.uint8),
        labels=np.arange(count) % classes,
        groups=range(count),
        splits=np.zeros(count, np.int64),
        views=["PA"] * count,
        class_names=tuple(f"class {c}" for c in range(classes)),
        site_names=("here",),
    )


@dataclass(frozen=True)
class Known(DrawnFeatures):
    """The same with features that are noise, at no cost."""

    width: int = 1

    def seen(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return NOISE[: len(images) * self.width].view(len(images), self.width)


NOISE = torch.randn(2**24, generator=torch.Generator().manual_seed(0))


def passes(drawn: DrawnFeatures, images: Images, micro_batch: int) -> int:
    """A forward pass of the originals, and a forward and a backward pass of the images; return how many features."""
    with torch.no_grad():
        for rows in slices(len(drawn.originals), micro_batch):
            drawn.seen(drawn.originals.batch(rows), drawn.originals.labels[rows])
    for rows in slices(len(images.pixels), micro_batch):
        shown = images.pixels[rows].clone().requires_grad_()
        seen = drawn.seen(shown, images.labels[rows].argmax(dim=1))
        torch.autograd.grad(seen, shown, torch.ones_like(seen))
    return seen.shape[1]


def arithmetic(objective: ComparedFeatures, drawn: Known, images: Images, micro_batch: int) -> None:
    """What is done to features that are known."""
    labels = images.labels.argmax(dim=1)
    made = Shared(LabelledImages.of_floats(images.pixels, labels), images.labels / images.labels.sum(dim=0))
    there = F.one_hot(drawn.originals.labels, objective.classes).float()
    distance = objective.distance(made, Shared(drawn.originals, there / there.sum(dim=0)), drawn, micro_batch)
    for rows in slices(len(labels), micro_batch):
        distance.gradients(rows, drawn.seen(images.pixels[rows], labels[rows]))


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measured(objective: ComparedFeatures, images: Images, micro_batch: int, turns: int) -> list[float]:
    """The figures of a row: medians over the turns."""
    rows, shown = [], torch.arange(len(images.pixels))
    for turn in range(turns):
        drawing = seconds(partial(objective.draw, turn, shown))
        drawn = objective.draw(turn, shown)
        known = Known(**vars(drawn), width=passes(drawn, images, micro_batch))
        least = seconds(partial(passes, drawn, images, micro_batch))
        taken = seconds(partial(objective.evaluate, images, {}, drawn, micro_batch))
        more = seconds(partial(arithmetic, objective, known, images, micro_batch))
        rows.append((least, taken / least, (taken + drawing) / least, taken / (least + more)))
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("images", 10),
        ("originals", 64),
        ("classes", 4),
        ("size", 32),
        ("width", 32),
        ("turns", 15),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    keep_freed_memory()
    spec = NetworkSpec(NetworkRecipe(depth=3, width=asked.width), 1, asked.size, asked.classes)
    labels = torch.arange(asked.classes).repeat_interleave(asked.images)
    pixels = torch.randn(len(labels), *spec.shape)
    images = Images(pixels, F.one_hot(labels, asked.classes).float(), torch.ones(len(labels)))
    network = build_network(spec, torch.Generator().manual_seed(0))
    micro_batch = micro_batch_size(network, spec.shape)
    sys.stdout.write("| distance | passes, s | evaluate | whole step | evaluate over passes and arithmetic |\n")
    sys.stdout.write("|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        corpus = noise(Path(folder) / "corpus", asked.classes, 4 * asked.originals, asked.size)
        originals = Originals(
            corpus, tuple(range(asked.classes)), asked.originals, Normalisation((0.5,), (0.25,)), 0, CPU
        )
        for name, kind in KINDS.items():
            objective = kind(FreshNetworks(spec, 0, CPU), originals, AugmentationRecipe(), asked.classes, 0)
            figures = measured(objective, images, micro_batch, asked.turns)
            sys.stdout.write(
                f"| {name} | {figures[0]:.3f} | " + " | ".join(f"{one:.2f}" for one in figures[1:]) + " |\n"
            )
    sys.stdout.write(f"\n{hardware('cpu')}; " + ", ".join(f"{name} {v}" for name, v in versions().items()) + "\n")


if __name__ == "__main__":
    main()
