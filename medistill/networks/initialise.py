"""PyTorch's own default initialisation, drawn from an explicit generator."""

from __future__ import annotations

import math

import torch
from torch import nn


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Fill every parameter in place.

    Convolutions and linear layers: uniform in +-1/sqrt(fan_in), weights and biases alike (what PyTorch's
    ``kaiming_uniform_(a=sqrt(5))`` comes to). Norms: scale 1, shift 0.

    Raises:
        TypeError: a layer with parameters whose initialisation is not defined here.
    """
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = 1 / math.sqrt(module.weight[0].numel())
                module.weight.uniform_(-bound, bound, generator=generator)
                if module.bias is not None:
                    module.bias.uniform_(-bound, bound, generator=generator)
            elif isinstance(module, nn.GroupNorm):
                module.weight.fill_(1)
                module.bias.fill_(0)
            elif next(module.parameters(recurse=False), None) is not None:
                raise TypeError(f"no initialisation is defined for {type(module).__name__}")
