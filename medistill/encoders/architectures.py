"""Architectures: the networks that an encoder can be, each with its layers and what they need of an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medistill.encoders.efficientnet_lite import SMALLEST, EfficientNetLite0
from medistill.errors import ArtifactError


@dataclass(frozen=True)
class Architecture:
    """What is known of a network before its weights are.

    Attributes:
        name: for a reader.
        build: layers -> the network without weights worth having; it maps (N, 3, H, W) to (N, D).
        channels: channels of each layer that features can be taken from, in the network's order.
        smallest: side in pixels that an image must have.
        only_size: the one side in pixels that it takes; 0 takes any.
        computes_buffers: whether building it works out tensors that its weights do not hold, as tables of positions.
    """

    name: str
    build: Callable[[tuple[str, ...]], nn.Module]
    channels: dict[str, int]
    smallest: int
    only_size: int = 0
    computes_buffers: bool = False

    def width(self, layers: tuple[str, ...]) -> int:
        """How many features an image has."""
        return sum(self.channels[layer] for layer in layers)

    def empty(self, layers: tuple[str, ...]) -> nn.Module:
        """The network without memory for its weights."""
        with torch.device("meta"):
            return self.build(layers)

    def with_weights(self, layers: tuple[str, ...], weights: Mapping[str, Tensor]) -> nn.Module:
        """The network with these weights, frozen and in evaluation mode; the global random numbers stay where they are.

        Args:
            layers: whose features it gives.
            weights: by name, of the shapes of `empty`.
        """
        if self.computes_buffers:
            with torch.random.fork_rng(devices=[]):
                network = self.build(layers)
        else:
            network = self.empty(layers)
        state = network.state_dict()  # keeps the versions of its modules, without which batch norms ask for a count
        state.update(weights)
        network.load_state_dict(state, assign=True)
        network.requires_grad_(requires_grad=False)
        return network.eval()


ARCHITECTURES: dict[str, Architecture] = {
    "efficientnet_lite0": Architecture(
        "EfficientNet-Lite0", EfficientNetLite0, dict(EfficientNetLite0.CHANNELS), SMALLEST
    )
}
"""Those that are defined here; others are timm's."""


def architecture_named(name: str) -> Architecture:
    """Return the architecture of a name that somebody else may have written; it chooses from lists and names no code.

    Args:
        name: a key of `ARCHITECTURES`, or ``timm:`` and a name of timm's own list.

    Raises:
        ArtifactError: there is none of that name, or timm is not installed.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    from medistill.encoders.timm_networks import PREFIX, timm_architecture

    if name.startswith(PREFIX):
        return timm_architecture(name.removeprefix(PREFIX))
    raise ArtifactError(
        f"its architecture {name[:64]!r} is not one of those known here",
        expected=f"{', '.join(sorted(ARCHITECTURES))}, or {PREFIX}NAME",
        do="ask whoever made it which version of medistill it was made with",
    )
