"""A step of gradient matching beside the same by automatic differentiation, create_graph=True, class after class.

    python -m tests.bench.gradients --ipc 1 10 50

Noise in place of images; one fresh network a step, no augmentation, one processor thread. The two are taken in turn, in
one process that keeps freed memory, and of each the least processor time counts. Markdown.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.allocator import keep_freed_memory
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.images import Images
from medistill.engine.loops import Loops
from medistill.engine.objectives.gradient import DrawnGradients, GradientMatching
from medistill.engine.sources.fresh import FreshNetworks
from medistill.engine.sources.originals import Originals
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.workflow.environment import hardware, versions
from tests.factories.drawn_corpus import CLASSES, drawn_corpus

CPU, PLAIN = torch.device("cpu"), AugmentationRecipe(operations=())


def by_autograd(network: nn.Module, drawn: DrawnGradients, images: Images) -> Tensor:
    """Return the gradient in the images of the published loss, a cosine a row of weights, by one backward for all."""
    parameters = [*network.requires_grad_(requires_grad=True).parameters()]
    pixels, labels = images.pixels.clone().requires_grad_(), images.labels.argmax(dim=1)
    loss = torch.zeros(())
    for c in range(len(CLASSES)):
        real = drawn.originals.batch(drawn.originals.labels == c)
        wanted = torch.autograd.grad(F.cross_entropy(network(real), torch.full((len(real),), c)), parameters)
        shown = pixels[labels == c]
        made = F.cross_entropy(network(shown), torch.full((len(shown),), c))
        found = torch.autograd.grad(made, parameters, create_graph=True)
        for r, s in zip(wanted, found, strict=True):
            if r.ndim > 1:
                a, b = r.flatten(1), s.flatten(1)
                loss = loss + (1 - (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
    loss.backward()
    network.requires_grad_(requires_grad=False)
    assert pixels.grad is not None
    return pixels.grad


def row(objective: GradientMatching, networks: FreshNetworks, ipc: int, rounds: int) -> str:
    """Return a row of the table."""
    spec = networks.spec
    micro_batch = micro_batch_size(build_network(spec, torch.Generator().manual_seed(0)), spec.shape)
    labels, rng = torch.arange(spec.classes).repeat_interleave(ipc), torch.Generator().manual_seed(1)
    pixels = torch.randn(len(labels), *spec.shape, generator=rng)
    images = Images(pixels, F.one_hot(labels, spec.classes).float(), torch.ones(len(labels)))
    drawn = objective.draw(0, torch.arange(len(labels)))
    network, theirs, ours = networks.draw(0, drawn.shown), float("inf"), float("inf")
    for _ in range(rounds):
        started = time.process_time()
        wanted = by_autograd(network, drawn, images)
        between = time.process_time()
        found = objective.evaluate(images, {}, drawn, micro_batch).grad_images
        theirs, ours = min(theirs, between - started), min(ours, time.process_time() - between)
    apart = float((found - wanted).norm() / wanted.norm())
    return f"| {ipc} | {1000 * theirs:.0f} | {1000 * ours:.0f} | {ours / theirs:.2f} | {apart:.0e} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")
    parser.add_argument("--width", type=int, default=32, help="channels of a block of the network")
    parser.add_argument("--real", type=int, default=64, help="originals of a class")
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50], help="distilled images of a class")
    parser.add_argument("--rounds", type=int, default=5, help="times of each")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    networks = FreshNetworks(NetworkSpec(NetworkRecipe(width=asked.width), 1, asked.size, len(CLASSES)), 0, CPU)
    lines = ["| images per class | automatic, ms | ours, ms | ratio | gradients differ by |", "|---|---|---|---|---|"]
    with TemporaryDirectory() as folder:
        corpus = drawn_corpus(Path(folder) / "corpus", size=asked.size, each=2 * asked.real)
        originals = Originals(corpus, tuple(range(len(CLASSES))), asked.real, Normalisation((0.5,), (0.25,)), 0, CPU)
        objective = GradientMatching(Loops(networks), originals, PLAIN, len(CLASSES), 0, CPU)
        lines += [row(objective, networks, ipc, asked.rounds) for ipc in asked.ipc]
    lines += [
        "",
        f"- {asked.size} px, {len(CLASSES)} classes, {asked.real} originals of each, width {asked.width}.",
        f"- {hardware('cpu')}; " + ", ".join(f"{name} {v}" for name, v in versions().items()) + ".",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
