"""Fresh networks: one with random parameters, never trained, for every outer step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

from medistill.networks.registry import NetworkSpec, build_network
from medistill.training.randomness import generator


@dataclass(frozen=True)
class FreshNetworks:
    """A source of networks as they are before any training.

    Attributes:
        spec: which network.
        seed: of the run.
        device: where a network is put.
    """

    spec: NetworkSpec
    seed: int
    device: torch.device

    def draw(self, iteration: int, shown: Int[Tensor, " M"], number: int = 0) -> nn.Module:
        """Draw the network of an outer iteration, whose parameters ask for no gradient.

        Args:
            iteration: finished outer steps.
            shown: rows of the distilled images that take part, on which it does not depend.
            number: which of the draws of this iteration.
        """
        rng = generator(self.seed, "fresh network", iteration, *([number] if number else []))
        return build_network(self.spec, rng, self.device).requires_grad_(False)
