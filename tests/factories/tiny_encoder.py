"""A tiny encoder with random weights: three layers, 22 features, in an architecture that tests alone know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medistill.encoders.architectures import ARCHITECTURES, Architecture
from medistill.encoders.description import EncoderDescription
from medistill.encoders.encoder import Encoder
from medistill.encoders.folder import save_encoder
from medistill.encoders.store import add_encoder

NAME = "tiny"
CHANNELS = {"first": 6, "second": 16}


class TinyEncoder(nn.Module):
    """Two convolutions with a smooth activation, so that gradients can be compared with finite differences."""

    def __init__(self, layers: tuple[str, ...]) -> None:
        super().__init__()
        self.layers = layers
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.second = nn.Conv2d(6, 16, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the means over the pixels."""
        first = torch.tanh(self.first(images))
        second = torch.tanh(self.second(first))
        seen = {"first": first, "second": second}
        return torch.cat([seen[layer].mean(dim=(2, 3)) for layer in self.layers], dim=1)


@contextmanager
def tiny_architecture() -> Iterator[None]:
    """Let the architecture be known for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, NAME, Architecture("Tiny", TinyEncoder, CHANNELS, 8))
        yield


def description() -> EncoderDescription:
    """What it says of itself."""
    return EncoderDescription(
        architecture=NAME, licence="CC0-1.0", trained_on="nothing", source="tests", layers=("first", "second"),
        image_size=32, fixed_size=False, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25),
    )  # fmt: skip


def save_tiny(folder: Path, seed: int = 0, scale: np.ndarray | float = 0.1) -> str:
    """Write one, and return its SHA-256. The architecture must be known."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = TinyEncoder(("first", "second"))
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    ones = np.ones(sum(CHANNELS.values()), np.float32)
    return save_encoder(folder, description(), weights, 0 * ones, (scale * ones).astype(np.float32))


def in_float64(encoder: Encoder) -> Encoder:
    """The same tiny encoder in float64; the one that is given stays as it is."""
    network = type(encoder.network)(encoder.description.layers).double()
    network.load_state_dict({name: tensor.double() for name, tensor in encoder.network.state_dict().items()})
    network.requires_grad_(requires_grad=False)
    return Encoder(encoder.description, encoder.sha256, network, encoder.centre.double(), encoder.scale.double())


def stored_tiny(folder: Path, seed: int = 0, scale: np.ndarray | float = 0.1) -> Encoder:
    """Write one into ``folder``, bring it into the cache, and return it."""
    save_tiny(folder, seed, scale)
    return add_encoder(folder)
