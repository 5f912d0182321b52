"""Blends: networks on the line between random parameters and those that training on originals made of them.

With theta_0 the start of a network, theta_T its end, and l drawn from 0 .. 1 (Zhang, Li, Lin et al. 2024),

    theta = l theta_0 + (1 - l) theta_T

A step draws one of a few networks and l; what it draws of both, the blend and the end, is the same network.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.training.device import sent
from medistill.training.randomness import generator

NAME = "network to blend"
"""Of the random numbers of such a network: its start, and then what its training draws."""


@dataclass(frozen=True)
class TrainedNetworks:
    """A source of networks as they are after training.

    Attributes:
        spec: which network.
        ends: parameters of each after its training.
        seed: of the run, under which each began by its number.
        device: where a network is put.
    """

    spec: NetworkSpec
    ends: Float[Tensor, "M P"]
    seed: int
    device: torch.device

    def draw(self, iteration: int, shown: Int[Tensor, " M"], number: int = 0) -> nn.Module:
        """Draw a network of an outer iteration, whose parameters ask for no gradient.

        Args:
            iteration: finished outer steps.
            shown: rows of the distilled images that take part, on which it does not depend.
            number: which of the draws of this iteration.
        """
        return self._network(iteration, number, blended=False)

    def _network(self, iteration: int, number: int, *, blended: bool) -> nn.Module:
        """Return the network that is drawn, at its end, or between that and its start."""
        rng = generator(self.seed, "blend", iteration, *([number] if number else []))
        which = int(torch.randint(len(self.ends), (), generator=rng))
        share = float(torch.rand((), generator=rng, dtype=torch.float64)) if blended else 0.0
        network = build_network(self.spec, generator(self.seed, NAME, which), self.device)
        flat = FlatParameters(network)
        flat.load(share * flat.values + (1 - share) * sent(self.ends[which], self.device))
        return network.requires_grad_(False)


@dataclass(frozen=True)
class BlendedNetworks(TrainedNetworks):
    """A source of networks between their start and their end, which is the one that `TrainedNetworks` draws."""

    def draw(self, iteration: int, shown: Int[Tensor, " M"], number: int = 0) -> nn.Module:
        """Draw as `TrainedNetworks` does, and how far the network is from its end."""
        return self._network(iteration, number, blended=True)
